"""Perspective views of a panorama: bilinear for images, nearest for labels; grids are built once and reused.

Bilinear weights are fixed-point (1/256 pixel). A view reads only the part of the panorama that it sees, copied
into a patch without seam, in which the right neighbour is the next pixel and the lower one lies a row further on.

Legend: H W panorama, h w view, R S patch (rows, columns), 3 = (red, green, blue).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, panorama_coordinates, perspective_rays

_ONE = 256
"""A weight of one. Four weights that sum to it and 8-bit values keep a sum within 16 bits."""
_HALF_PER_LANE = np.uint64(0x0080_0080_0080_0080)
_HIGH_BYTE = 1 if sys.byteorder == "little" else 0
_ROWS_AT_ONCE = 32
"""Rows of a view whose intermediate arrays fit the cache together; measured."""


@dataclass(frozen=True)
class PerspectiveSampler:
    """A pinhole view of panoramas of one size; build it once, call it per image.

    Angles are degrees, signs as in `sphere`. Beyond the rows of a band nothing is seen.
    """

    height: int
    """Height of the view, pixels."""
    width: int
    """Width of the view, pixels."""
    horizontal_fov: float
    """Horizontal field of view; above 0, below 180."""
    yaw: float
    """Where the view looks, to the right."""
    pitch: float
    """Where the view looks, upwards."""
    roll: float
    """Turn of the camera about its axis."""
    panorama_height: int
    """Height of the panoramas, pixels."""
    panorama_width: int
    """Width of the panoramas, pixels."""
    vertical_fov: float = FULL_SPHERE_DEGREES
    """Vertical field of view of the panoramas."""

    @property
    def inside_hw(self) -> npt.NDArray[np.bool_]:
        """Pixels of the view that the panorama covers (all, for a full sphere); read-only."""
        return self._grid.inside_hw

    def image(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Bilinear view image_hw3 of an RGB panorama, 0..255; black outside."""
        self._require_panorama(image_HW3.shape, (self.panorama_height, self.panorama_width, 3))
        grid = self._grid
        patch = _packed_patch(image_HW3, grid.patch, self._is_full)
        view_hw3 = np.empty((self.height, self.width, 3), np.uint8)
        scratch_2hw = np.empty((2, min(self.height, _ROWS_AT_ONCE), self.width), np.uint64)
        for start in range(0, self.height, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            index_hw, weights_4hw = grid.index_hw[rows], grid.weights_4hw[:, rows]
            _blend(patch, grid.patch.columns, index_hw, weights_4hw, scratch_2hw[:, : len(index_hw)], view_hw3[rows])
        if not grid.covered:
            view_hw3[~grid.inside_hw] = 0
        return view_hw3

    def labels(self, labels_HW: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Nearest view labels_hw of a label map; 255 outside."""
        self._require_panorama(labels_HW.shape, (self.panorama_height, self.panorama_width))
        view_hw = np.take(labels_HW.reshape(-1), self._grid.nearest_hw)
        if not self._grid.covered:
            view_hw[~self._grid.inside_hw] = IGNORE
        return view_hw

    @cached_property
    def _grid(self) -> _Grid:
        return _build_grid(self)

    @property
    def _is_full(self) -> bool:
        return self.vertical_fov == FULL_SPHERE_DEGREES

    @staticmethod
    def _require_panorama(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise ValueError(f"the panorama has the shape {shape}; this sampler is for {expected}")


@dataclass(frozen=True)
class _Patch:
    """The part of a panorama that a view reads; rows -1 and H lie beyond the first and last row."""

    top: int
    rows: int
    left: int
    columns: int


@dataclass(frozen=True)
class _Grid:
    """Where the pixels of a view lie; arrays are read-only."""

    patch: _Patch
    index_hw: npt.NDArray[np.intp]
    """Flat index of the upper left neighbour in the patch."""
    weights_4hw: npt.NDArray[np.uint16]
    """Weights of the upper left, upper right, lower left and lower right neighbour; sum 256."""
    nearest_hw: npt.NDArray[np.intp]
    """Flat index of the nearest pixel in the panorama."""
    inside_hw: npt.NDArray[np.bool_]
    covered: bool
    """Whether all of the view is inside."""


@lru_cache(maxsize=64)
def _build_grid(view: PerspectiveSampler) -> _Grid:
    size = view.panorama_height, view.panorama_width
    rays_hw3 = perspective_rays(view.height, view.width, view.horizontal_fov, view.yaw, view.pitch, view.roll)
    row_hw, column_hw = panorama_coordinates(rays_hw3, *size, view.vertical_fov)
    inside_hw = (row_hw >= -0.5) & (row_hw <= size[0] - 0.5)
    row_hw = np.clip(row_hw, -0.5, size[0] - 0.5)
    patch, index_hw, weights_4hw = _bilinear(row_hw, column_hw, view)
    nearest_hw = np.clip(np.rint(row_hw), 0, size[0] - 1) * size[1] + np.rint(column_hw) % size[1]
    grid = _Grid(patch, index_hw, weights_4hw, nearest_hw.astype(np.intp), inside_hw, bool(inside_hw.all()))
    for array in (grid.index_hw, grid.weights_4hw, grid.nearest_hw, grid.inside_hw):
        array.setflags(write=False)
    return grid


def _bilinear(
    row_hw: npt.NDArray[np.float64], column_hw: npt.NDArray[np.float64], view: PerspectiveSampler
) -> tuple[_Patch, npt.NDArray[np.intp], npt.NDArray[np.uint16]]:
    """The patch, and index_hw and weights_4hw into it."""
    # Columns are counted from behind the camera, so that those of a view without a pole are contiguous.
    behind = int(np.floor(view.yaw / 360 * view.panorama_width))
    upper, fraction_y = _split(row_hw)
    left, fraction_x = _split(np.mod(column_hw - behind, view.panorama_width))
    top, first = int(upper.min()), int(left.min())
    patch = _Patch(top, int(upper.max()) - top + 2, behind + first, int(left.max()) - first + 2)
    index_hw = (upper - top) * patch.columns + (left - first)
    lower = (fraction_y * fraction_x + _ONE // 2) // _ONE
    weights = (_ONE - fraction_y - fraction_x + lower, fraction_x - lower, fraction_y - lower, lower)
    return patch, index_hw, np.stack(weights).astype(np.uint16)


def _split(position: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Whole pixels and 1/256 pixels of positions."""
    fixed = np.rint(position * _ONE).astype(np.intp)
    return fixed // _ONE, fixed % _ONE


def _packed_patch(image_HW3: npt.NDArray[np.uint8], patch: _Patch, is_full: bool) -> npt.NDArray[np.uint64]:
    """A patch as flat [R * S] 64-bit words: one 16-bit lane per channel, so that one product weighs all of them."""
    height, width = image_HW3.shape[:2]
    lanes_RS4 = np.zeros((patch.rows, patch.columns, 4), np.uint16)
    bottom = patch.top + patch.rows
    first, last = max(patch.top, 0), min(bottom, height)
    _copy_wrapping(image_HW3[first:last], lanes_RS4[first - patch.top : last - patch.top], patch.left)
    # Beyond a pole the image goes on with the same row, half a turn away; beyond a band's edge it is not seen.
    beyond = patch.left + (width // 2 if is_full else 0)
    if patch.top < 0:
        _copy_wrapping(image_HW3[:1], lanes_RS4[:1], beyond)
    if bottom > height:
        _copy_wrapping(image_HW3[-1:], lanes_RS4[-1:], beyond)
    return lanes_RS4.reshape(-1).view(np.uint64)


def _copy_wrapping(source_RW3: npt.NDArray[np.uint8], target_RS4: npt.NDArray[np.uint16], first_column: int) -> None:
    """Fill a target with the columns of a source from `first_column` (any integer) on, modulo its width."""
    width, done = source_RW3.shape[1], 0
    while done < target_RS4.shape[1]:
        start = (first_column + done) % width
        count = min(width - start, target_RS4.shape[1] - done)
        for channel in range(3):  # numpy copies three long strides faster than many rows of three
            target_RS4[:, done : done + count, channel] = source_RW3[:, start : start + count, channel]
        done += count


def _blend(
    patch: npt.NDArray[np.uint64],
    columns: int,
    index_hw: npt.NDArray[np.intp],
    weights_4hw: npt.NDArray[np.uint16],
    scratch_2hw: npt.NDArray[np.uint64],
    view_hw3: npt.NDArray[np.uint8],
) -> None:
    """Weigh the four neighbours of each pixel into `view_hw3`, rounded; the scratch is overwritten."""
    total_hw, neighbour_hw = scratch_2hw
    _weigh(patch, index_hw, weights_4hw[0], total_hw)
    for offset, weight_hw in zip((1, columns, columns + 1), weights_4hw[1:], strict=True):
        _weigh(patch[offset:], index_hw, weight_hw, neighbour_hw)
        np.add(total_hw, neighbour_hw, out=total_hw)
    np.add(total_hw, _HALF_PER_LANE, out=total_hw)
    bytes_hw42 = total_hw.view(np.uint8).reshape(*index_hw.shape, 4, 2)
    for channel in range(3):
        view_hw3[..., channel] = bytes_hw42[..., channel, _HIGH_BYTE]  # sum // 256


def _weigh(
    patch: npt.NDArray[np.uint64],
    index_hw: npt.NDArray[np.intp],
    weight_hw: npt.NDArray[np.uint16],
    product_hw: npt.NDArray[np.uint64],
) -> None:
    # mode "clip" spares numpy a second buffer; the indices are in range by construction.
    np.take(patch, index_hw, out=product_hw, mode="clip")
    np.multiply(product_hw, weight_hw, out=product_hw)
