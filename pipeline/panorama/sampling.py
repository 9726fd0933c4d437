"""Perspective views of a panorama: bilinear for images, nearest for labels; grids are built once and reused.

Views are for windows on the true sphere, which no stage has yet. Bilinear ones are torch's `grid_sample` in float32;
rounding apart, they are exact to a 50th of a grey level. A view is cut into tiles, each of which reads a patch: the
part of the panorama that it sees, without seam, in which the right neighbour is the next pixel and the lower one lies a
row further on. Tiles are so small that a patch stays in the processor's cache, and patches of tiles beside a pole are
not as wide as the panorama.

Legend: H W panorama, h w view or tile, R S patch (rows, columns), 3 = (red, green, blue), 2 = (x, y) in a patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.classes import IGNORE
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, panorama_coordinates, perspective_rays

Floats = npt.NDArray[np.float64]
_PATCH_PIXELS = 1 << 16
"""A tile whose patch is larger is cut in two: 0.8 MB of float32, about half of a core's cache; measured."""


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
        view_hw3 = np.empty((self.height, self.width, 3), np.uint8)
        for tile in grid.tiles:
            tile.draw(image_HW3, view_hw3, self._is_full)
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
    """The part of a panorama that a tile reads; rows -1 and H lie beyond the first and last row."""

    top: int
    rows: int
    left: int
    """Any integer: columns wrap."""
    columns: int

    def cut_out(self, image_HW3: npt.NDArray[np.uint8], is_full: bool) -> npt.NDArray[np.float32]:
        """The patch_RS3 of a panorama."""
        height, width = image_HW3.shape[:2]
        patch_RS3 = np.empty((self.rows, self.columns, 3), np.float32)
        bottom = self.top + self.rows
        first, last = max(self.top, 0), min(bottom, height)
        _copy_wrapping(image_HW3[first:last], patch_RS3[first - self.top : last - self.top], self.left)
        # Beyond a pole the image goes on with the same row, half a turn away; beyond a band's edge it is not seen.
        beyond = self.left + (width // 2 if is_full else 0)
        if self.top < 0:
            _copy_wrapping(image_HW3[:1], patch_RS3[:1], beyond)
        if bottom > height:
            _copy_wrapping(image_HW3[-1:], patch_RS3[-1:], beyond)
        return patch_RS3


@dataclass(frozen=True)
class _Tile:
    """A rectangle of a view, and where its pixels lie in a patch."""

    rows: slice
    columns: slice
    patch: _Patch
    positions_1hw2: torch.Tensor
    """float32; -1 and 1 are the outer edges of the patch's outermost pixels."""

    def draw(self, image_HW3: npt.NDArray[np.uint8], view_hw3: npt.NDArray[np.uint8], is_full: bool) -> None:
        """Fill this tile of a view."""
        patch_13RS = torch.from_numpy(self.patch.cut_out(image_HW3, is_full)).permute(2, 0, 1)[None]
        colours_3hw = functional.grid_sample(patch_13RS, self.positions_1hw2, align_corners=False)[0].numpy()
        np.rint(colours_3hw, out=colours_3hw)
        tile_hw3 = view_hw3[self.rows, self.columns]
        for channel in range(3):  # numpy writes three long strides faster than many pixels of three
            tile_hw3[..., channel] = colours_3hw[channel]


@dataclass(frozen=True)
class _Grid:
    """Where the pixels of a view lie; arrays are read-only."""

    tiles: tuple[_Tile, ...]
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
    tiles = tuple(_tiles(row_hw, column_hw, size[1], slice(0, view.height), slice(0, view.width)))
    nearest_hw = np.clip(np.rint(row_hw), 0, size[0] - 1) * size[1] + np.rint(column_hw) % size[1]
    grid = _Grid(tiles, nearest_hw.astype(np.intp), inside_hw, bool(inside_hw.all()))
    for array in (grid.nearest_hw, grid.inside_hw):
        array.setflags(write=False)
    return grid


def _tiles(row_hw: Floats, column_hw: Floats, width: int, rows: slice, columns: slice) -> Iterator[_Tile]:
    """Tiles of a rectangle of the view, halved until the patches are small; wide ones, because rows lie together."""
    y_hw, x_hw = row_hw[rows, columns], column_hw[rows, columns]
    # Columns are counted from behind the middle, so that those of a tile without a pole are contiguous.
    behind = int(x_hw[x_hw.shape[0] // 2, x_hw.shape[1] // 2]) - width // 2
    x_hw = np.mod(x_hw - behind, width)
    top, left = int(np.floor(y_hw.min())), int(np.floor(x_hw.min()))
    patch = _Patch(top, int(y_hw.max()) + 2 - top, behind + left, int(x_hw.max()) + 2 - left)
    if patch.rows * patch.columns <= _PATCH_PIXELS or y_hw.size == 1:
        x_hw, y_hw = (2 * (x_hw - left) + 1) / patch.columns - 1, (2 * (y_hw - top) + 1) / patch.rows - 1
        positions_1hw2 = torch.from_numpy(np.stack((x_hw, y_hw), axis=-1).astype(np.float32))[None]
        yield _Tile(rows, columns, patch, positions_1hw2)
    elif 2 * y_hw.shape[0] >= y_hw.shape[1]:
        for part in _halves(rows):
            yield from _tiles(row_hw, column_hw, width, part, columns)
    else:
        for part in _halves(columns):
            yield from _tiles(row_hw, column_hw, width, rows, part)


def _halves(whole: slice) -> tuple[slice, slice]:
    middle = (whole.start + whole.stop) // 2
    return slice(whole.start, middle), slice(middle, whole.stop)


def _copy_wrapping(source_RW3: npt.NDArray[np.uint8], target_RS3: npt.NDArray[np.float32], first_column: int) -> None:
    """Fill a target with the columns of a source from `first_column` (any integer) on, modulo its width."""
    width, done = source_RW3.shape[1], 0
    while done < target_RS3.shape[1]:
        start = (first_column + done) % width
        count = min(width - start, target_RS3.shape[1] - done)
        target_RS3[:, done : done + count] = source_RW3[:, start : start + count]
        done += count
