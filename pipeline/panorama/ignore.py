"""Ignored pixels of a panorama: the camera rig (a given mask), black borders where no camera looked, transparency.

Legend: H W panorama (working size), 3 = (red, green, blue).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import ASPECT_TOLERANCE, read_picture

TOLERANCE = 8
"""Brightness (0..255, the largest channel) up to which a pixel beside the border counts as black: JPEG noise."""
MINIMUM_SHARE = 0.01
"""Share of the image below which a black border is left alone."""

_BORDER_SHARE = 0.995
"""Share of the border row that must be black; the rest may be noise."""
_SPECK = 2
"""Specks of up to twice this many columns do not end the black."""
_FRINGE = 1
"""Rows at the edge of the black that resizing and JPEG have blended with their neighbours."""


def ignored_region(
    image_HW3: npt.NDArray[np.uint8], config: PanoramaConfig, transparent_HW: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.bool_]:
    """Pixels to ignore: the mask of `config`, a black border if it asks for that, and transparent or unseen pixels.

    A border is that of the rows of which something is seen: at the top of a picture that lies lower on the sphere, a
    night sky is no border.

    Raises:
        InputError: the mask file cannot be used.
    """
    height, width = image_HW3.shape[:2]
    ignored_HW = np.zeros((height, width), np.bool_)
    if config.find_constant_border:
        rows = slice(0, height) if transparent_HW is None else _rows_with_any(~transparent_HW)
        ignored_HW[rows] |= constant_border(image_HW3[rows])
    if config.ignore_mask:
        ignored_HW |= load_ignore_mask(Path(config.ignore_mask), height, width)
    if transparent_HW is not None:
        ignored_HW |= transparent_HW
    return ignored_HW


def constant_border(image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Black regions that start at the bottom or top border, up or down each column to the first pixel that is not
    black.

    Only black counts: a row at a pole is a single point, so that road or snow below the camera and an overexposed sky
    have a constant colour, too, and are seen. At the top, the border row must be exactly black: a night sky nearly is.

    Args:
        image_HW3: RGB, 0..255.
    """
    ignored_HW = np.zeros(image_HW3.shape[:2], np.bool_)
    _mark_black(image_HW3[::-1], ignored_HW[::-1], TOLERANCE)
    _mark_black(image_HW3, ignored_HW, 0)
    return ignored_HW


def _rows_with_any(seen_HW: npt.NDArray[np.bool_]) -> slice:
    """The rows from the first to the last that has a pixel; all if none has."""
    rows = np.flatnonzero(seen_HW.any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, len(seen_HW))


def require_ignore_mask(config: PanoramaConfig) -> str:
    """Read the mask of `config` once, so that its errors are not reported for every panorama.

    Returns:
        The share that it ignores, in a sentence, as other programs invert masks; empty without a mask.

    Raises:
        InputError: the mask file cannot be used.
    """
    if not config.ignore_mask:
        return ""
    path = Path(config.ignore_mask)
    share = load_ignore_mask(path, config.height, config.width).mean()
    return f"{path.name} ignores {100 * share:.1f} % of every panorama (where it is not black)"


def load_ignore_mask(path: Path, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Read a mask file at the working size, read-only; a pixel is ignored where any part of it is non-zero.

    Raises:
        InputError: no image, JPEG (whose noise is non-zero), or of another aspect ratio than the panoramas.
    """
    changed_ns = path.stat().st_mtime_ns if path.is_file() else 0  # a mask that was edited is read anew
    return _load_ignore_mask(path, height, width, changed_ns)


def has_aspect(mask_width: int, mask_height: int, width: int, height: int) -> bool:
    """Whether a mask of that size has the shape of panoramas of that working size, to within 2 %."""
    return abs(mask_width * height / (mask_height * width) - 1) <= ASPECT_TOLERANCE


@lru_cache(maxsize=4)
def _load_ignore_mask(path: Path, height: int, width: int, changed_ns: int) -> npt.NDArray[np.bool_]:
    """Kept by path and time of change."""

    def require_same_aspect(mask_width: int, mask_height: int) -> None:
        if not has_aspect(mask_width, mask_height, width, height):
            raise InputError(
                f"ignore mask {path.name} is {mask_width}x{mask_height}",
                f"panoramas of this run are {width}x{height}, and the mask must have their aspect ratio",
                "Paint the mask on a panorama of the run",
            )

    picture = read_picture(path, require_same_aspect)
    if picture.format in ("JPEG", "MPO"):
        raise InputError(
            f"ignore mask {path.name} is a JPEG",
            "masks are PNG files: JPEG noise is not zero, and would be ignored",
            "Save the mask as PNG",
        )
    mask = Image.fromarray(_nonzero(picture.image))
    # 32-bit float: the box average of a single set pixel must not round to zero.
    mask_HW = np.asarray(mask.convert("F").resize((width, height), Image.Resampling.BOX)) > 1e-3
    mask_HW.setflags(write=False)
    return mask_HW


def _mark_black(image_HW3: npt.NDArray[np.uint8], ignored_HW: npt.NDArray[np.bool_], border_tolerance: int) -> None:
    """Mark black pixels from the first row down; for those from the last row up, pass both arrays flipped."""
    if np.mean(image_HW3[0].max(axis=-1) <= border_tolerance) < _BORDER_SHARE:
        return
    depth_W = _close_wrapping(_black_depth(image_HW3), _SPECK)
    if depth_W.mean() >= MINIMUM_SHARE * len(image_HW3):
        ignored_HW |= np.arange(len(image_HW3))[:, None] < depth_W + _FRINGE


def _black_depth(image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Length of the run of black pixels from the first row, per column [W]."""
    red, green, blue = np.moveaxis(image_HW3, -1, 0)
    seen_HW = np.maximum(np.maximum(red, green), blue) > TOLERANCE
    return np.where(seen_HW.any(axis=0), seen_HW.argmax(axis=0), len(seen_HW))


def _close_wrapping(depth_W: npt.NDArray[np.int64], radius: int) -> npt.NDArray[np.int64]:
    """Morphological closing of a profile around the panorama: dips of up to 2 * radius columns are filled."""
    shifts = range(-radius, radius + 1)
    widened = np.max([np.roll(depth_W, s) for s in shifts], axis=0)
    return np.min([np.roll(widened, s) for s in shifts], axis=0)


def _nonzero(image: Image.Image) -> npt.NDArray[np.uint8]:
    """255 where any colour channel is non-zero and the pixel is not fully transparent, else 0; shape [H, W]."""
    if image.mode not in ("L", "1", "I", "F") and not image.mode.startswith("I;16"):
        rgba = np.asarray(image.convert("RGBA"))
        return np.where((rgba[..., :3].any(axis=-1)) & (rgba[..., 3] > 0), 255, 0).astype(np.uint8)
    return np.where(np.asarray(image) != 0, 255, 0).astype(np.uint8)
