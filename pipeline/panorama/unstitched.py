"""Detects pictures with a panorama's shape that are none: unstitched fisheye discs, tiles on too large a canvas.

Both are recognised by their black regions, on a small copy. A black nadir or sky and dark nights are accepted: discs
leave black from top to bottom at three places, and too large a canvas is black in whole columns on one side of the seam
only.

Legend: H W picture, 3 = (red, green, blue).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import InputError

_BLACK = 16
"""Brightness (0..255, the largest channel) up to which a pixel counts as black: JPEG noise of a small copy."""
_COPY_WIDTH = 512
"""Width of the small copy, pixels."""
_OUTSIDE_BLACK = 0.95
"""Share of what lies outside the discs that must be black; street panoramas with a black nadir have 0.4."""
_INSIDE_BLACK = 0.4
"""Share of the discs that may be black: they may be somewhat smaller than the picture's height; a night is blacker."""
_SIDE_SEEN = 0.5
"""Share of the first column that must not be black; otherwise the strip is a dark place at the seam."""
_STRIP = 0.02
"""Share of the width that a black strip has at least."""
_NOISE = 0.01
"""Share of a strip that need not be black."""


def require_stitched(image: Image.Image, name: str, width: int, height: int) -> None:
    """Refuse a picture that has the shape of a panorama and is not filled like one.

    Args:
        image: the RGB picture, upright, of any size.
        name: the file's name, for messages.
        width: width of the upright file, pixels.
        height: height of the upright file, pixels.

    Raises:
        InputError: two fisheye discs on black, or black on the right and at the bottom.
    """
    black_HW = _black(image)
    if _two_discs(black_HW):
        raise InputError(
            f"{name} shows two round fisheye pictures side by side on black",
            "a panorama is stitched into one equirectangular picture",
            "Stitch it with the camera's program or app, or take it out of the folder",
        )
    share = _content_share(black_HW)
    if share < 1:
        content = f"{round(width * share)}x{round(height * share)}"
        raise InputError(
            f"{name} is black on the right and at the bottom: its content is about {content} of {width}x{height}",
            "a panorama fills its picture from the left border to the right",
            f"Cut it to the upper left {content}",
        )


def _black(image: Image.Image) -> npt.NDArray[np.bool_]:
    """Which pixels of a small copy are black, shape [H, W]."""
    copy_width = min(_COPY_WIDTH, image.width)
    size = (copy_width, max(1, round(image.height * copy_width / image.width)))
    small_HW3 = np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=1.0))
    return np.asarray(small_HW3.max(axis=-1) <= _BLACK)


def _two_discs(black_HW: npt.NDArray[np.bool_]) -> bool:
    """Whether all is black but two discs beside each other, each as high as the picture or a little less."""
    height, width = black_HW.shape
    if abs(width / height - 2) > 0.1:  # a band has no room for two discs
        return False
    row, column = np.mgrid[:height, :width] + 0.5
    from_middle = np.abs(column - width / 2) - width / 4  # folds both discs onto each other
    radius = np.hypot(row - height / 2, from_middle) / (height / 2)
    outside, inside = black_HW[radius > 1.03].mean(), black_HW[radius < 0.9].mean()
    return bool(outside >= _OUTSIDE_BLACK and inside <= _INSIDE_BLACK)


def _content_share(black_HW: npt.NDArray[np.bool_]) -> float:
    """Share of width and height that the upper left content has; 1 unless right and bottom are black."""
    height, width = black_HW.shape
    column_is_black = black_HW.mean(axis=0) >= 1 - _NOISE
    content_width = width - int(column_is_black[::-1].argmin())
    if column_is_black.all() or content_width > (1 - _STRIP) * width:
        return 1.0
    share = content_width / width
    content_height = min(height - 1, round(share * height))
    # The content has the picture's aspect ratio. It may be black at its own bottom; below it all must be.
    below_is_black = black_HW[content_height + 1 :].mean() >= 1 - _NOISE if content_height + 1 < height else False
    side_is_seen = 1 - black_HW[:content_height, 0].mean() >= _SIDE_SEEN
    top_is_seen = 1 - black_HW[0, :content_width].mean() >= _SIDE_SEEN
    return share if below_is_black and side_is_seen and top_is_seen else 1.0
