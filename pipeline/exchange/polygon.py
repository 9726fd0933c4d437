"""Polygons and turned boxes as pixels.

Coordinates are (x, y) in pixels, to the right and down from the upper left corner of the first pixel: the centre of the
pixel in row r and column c is at (c + 0.5, r + 0.5).

Legend: h w picture, N corners and as many sides, K crossings of a side and the centre line of a row, 2 = (x, y).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, Float64Array
from pipeline.exchange.regions import MOST_PIXELS

_DECIMALS = 6
"""Positions are rounded to a millionth of a pixel, so that a side through the centres of pixels is exactly there."""


def fill_polygon(corners: Sequence[tuple[float, float]] | Float64Array, height: int, width: int) -> BoolArray:
    """Pixels [h, w] whose centres lie in a polygon; where it overlaps itself an even number of times, it is empty.

    A centre on a side belongs to what lies to the right of the side, or below: polygons that share a side neither
    overlap nor leave a gap. (OpenCV and Pillow draw the outline as well, which adds half a pixel all around.)

    Args:
        corners: of the polygon, which may reach beyond the picture.
        height: rows of the picture.
        width: its columns.

    Raises:
        ValueError: a corner is no number, or far too large for one.
    """
    corners_N2 = np.asarray(corners, np.float64).reshape(-1, 2)
    if not (np.abs(corners_N2) <= MOST_PIXELS).all():
        raise ValueError("a corner of a polygon is no place in a picture")
    mask_hw = np.zeros((height, width), np.bool_)
    row_K, column_K = _crossings(np.round(corners_N2, _DECIMALS), height, width)
    if row_K.size:
        top, left = int(row_K.min()), int(column_K.min())
        box_hw = mask_hw[top : int(row_K.max()) + 1, left : int(column_K.max())]
        rows, columns = box_hw.shape
        crossings = np.zeros((rows, columns + 1), np.uint8)  # modulo 256, as only odd or even matters
        np.add.at(crossings.ravel(), (row_K - top) * (columns + 1) + column_K - left, np.uint8(1))
        box_hw[:] = np.bitwise_xor.accumulate(crossings[:, :-1] & 1, axis=1)
    return mask_hw


def box_corners(left: float, top: float, right: float, bottom: float) -> Float64Array:
    """Corners [4, 2] of a box: upper left, upper right, lower right, lower left."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def turned(corners_N2: Float64Array, degrees: float, about: tuple[float, float]) -> Float64Array:
    """Corners turned clockwise, as seen on the screen, about a point (x, y)."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return (corners_N2 - about) @ np.array([(cosine, sine), (-sine, cosine)]) + about


def _crossings(
    corners_N2: Float64Array, height: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose centre line a side crosses, and the first column whose centre is not left of the crossing; `width` for
    none."""
    next_N2 = np.roll(corners_N2, -1, axis=0)
    goes_down_N1 = corners_N2[:, 1:] <= next_N2[:, 1:]
    upper_N2, lower_N2 = np.where(goes_down_N1, corners_N2, next_N2), np.where(goes_down_N1, next_N2, corners_N2)
    first_N, end_N = (np.clip(np.ceil(of_N2[:, 1] - 0.5), 0, height).astype(np.int64) for of_N2 in (upper_N2, lower_N2))
    count_N = end_N - first_N
    side_K = np.repeat(np.arange(len(count_N)), count_N)
    row_K = np.arange(len(side_K)) + (first_N - np.cumsum(count_N) + count_N)[side_K]
    start_K2, way_K2 = upper_N2[side_K], (lower_N2 - upper_N2)[side_K]
    x_K = start_K2[:, 0] + (row_K + 0.5 - start_K2[:, 1]) * way_K2[:, 0] / way_K2[:, 1]
    return row_K, np.clip(np.ceil(np.round(x_K, _DECIMALS) - 0.5), 0, width).astype(np.int64)
