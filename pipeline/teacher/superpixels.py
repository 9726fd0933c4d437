"""Superpixels in SAM's place: regions of like colour, which know nothing of objects. A control, no part of the method.

Legend: h w view, M masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from pipeline.teacher.masks import MaskSet

PACKAGE = "scikit-image"
"""The distribution that computes them."""
REGION_SCALE = 200.0
"""Felzenszwalb and Huttenlocher's preference for large regions (2004)."""
BLUR = 0.8
"""Standard deviation of the blur before, pixels."""
SMALLEST_SHARE = 1 / 1000
"""Regions with a smaller share of the image are joined to a neighbour."""


def is_available() -> bool:
    """Whether the package is installed that computes superpixels."""
    return find_spec("skimage") is not None


class Superpixels:
    """A `MaskSource` of graph-based superpixels (Felzenszwalb and Huttenlocher, 2004): they cover an image without
    overlaps."""

    @property
    def identity(self) -> str:
        """Method and settings."""
        return f"felzenszwalb {REGION_SCALE} {BLUR} {SMALLEST_SHARE}"

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def many(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        """Superpixels of each of several RGB images [h, w, 3], in their order; their scores are 1.

        Raises:
            ImportError: scikit-image is not installed.
        """
        return [_superpixels(image_hw3) for image_hw3 in images]


def _superpixels(image_hw3: npt.NDArray[np.uint8]) -> MaskSet:
    from skimage.measure import regionprops
    from skimage.segmentation import felzenszwalb

    height, width = image_hw3.shape[:2]
    smallest = max(1, round(SMALLEST_SHARE * height * width))
    numbers_hw = felzenszwalb(image_hw3, scale=REGION_SCALE, sigma=BLUR, min_size=smallest)
    regions = regionprops(numbers_hw + 1)  # 0 would be background
    boxes_M4 = np.array([region.bbox for region in regions], np.int32).reshape(len(regions), 4)
    bitmaps = tuple(np.asarray(region.image, np.bool_) for region in regions)
    ones_M = np.ones(len(regions), np.float32)
    return MaskSet(boxes_M4, bitmaps, ones_M, ones_M, height, width)
