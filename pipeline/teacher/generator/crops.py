"""Crops on which SAM runs again for small objects, and masks that a crop cuts.

Legend: M masks. Boxes here are (x0, y0, x1, y1) as in SAM; crops have exclusive ends, masks inclusive ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import InputError

EDGE_DISTANCE = 20.0
"""A mask this close (pixels) to an edge of a crop inside the image counts as cut by it."""


class Crop(NamedTuple):
    """Part of an image."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int
    """0 is the image itself; layer i has 2^i by 2^i crops."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.y1 - self.y0, self.x1 - self.x0


def image_crops(height: int, width: int, layers: int, overlap_ratio: float) -> list[Crop]:
    """The image, then the crops layer by layer, column by column.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        layers: number of layers; layer i has 2^i by 2^i crops.
        overlap_ratio: overlap as a share of the image's shorter side in the first layer, half of that in the next.

    Raises:
        InputError: the image is too small for so many crops.
    """
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / per_side))
        crop_width, crop_height = (_length(side, per_side, overlap) for side in (width, height))
        columns, rows = ([(crop - overlap) * i for i in range(per_side)] for crop in (crop_width, crop_height))
        crops += [Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)
                  for x in columns for y in rows]  # fmt: skip
    if min(min(crop.size) for crop in crops) < 1:
        raise InputError(f"a window of {width}x{height} pixels cannot be cropped {layers} times",
                         "every crop must have at least one pixel", "Lower sam.crop_n_layers")  # fmt: skip
    return crops


def is_cut(boxes_M4: npt.NDArray[np.integer], crop: Crop, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Which masks lie near an edge of their crop that is not an edge of the image, [M].

    Args:
        boxes_M4: in pixels of the crop.
        crop: where it lies.
        height: of the image.
        width: of the image.
    """
    boxes = boxes_M4 + np.array([crop.x0, crop.y0, crop.x0, crop.y0])
    near_crop = np.abs(boxes - np.array(crop[:4])) <= EDGE_DISTANCE
    near_image = np.abs(boxes - np.array([0, 0, width, height])) <= EDGE_DISTANCE
    return np.logical_or.reduce(near_crop & ~near_image, axis=1)


def _length(side: int, per_side: int, overlap: int) -> int:
    return math.ceil((overlap * (per_side - 1) + side) / per_side)
