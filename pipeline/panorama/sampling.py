"""Sampling of pinhole images from a panorama, bilinear or nearest; grids are built once and reused.

Bilinear sampling is OpenCV's `remap` in fixed-point arithmetic, with positions exact to a 64th of a pixel. It reads a
patch: the part of the panorama that the view sees, copied so that neighbours across the seam or beyond a pole are
neighbours in memory.

Legend: H W panorama, h w view, R S patch (rows, columns), 3 = (red, green, blue), 2 = (x, y) in a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import ImageArray
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, panorama_coordinates, perspective_rays
from pipeline.panorama.windows import Window, cut


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
    def nearest_hw(self) -> npt.NDArray[np.intp]:
        """Flat index of the panorama's pixel nearest to each pixel of the view, in its first or last row beyond those
        of a band; read-only."""
        return self._grid.nearest_hw

    @property
    def inside_hw(self) -> npt.NDArray[np.bool_]:
        """Pixels of the view that the panorama covers (all, for a full sphere); read-only."""
        return self._grid.inside_hw

    def image(self, image_HW3: ImageArray) -> ImageArray:
        """Bilinear view image_hw3 of an RGB panorama, 0..255; black outside.

        Raises:
            ValueError: the panorama is not uint8 or not of the sampler's size, the view has no pixels, or
                `horizontal_fov` is out of its range.
            cv2.error: the view, or what it sees of the panorama, has 32767 columns or rows, or more.
        """
        expected = (self.panorama_height, self.panorama_width, 3)
        if image_HW3.dtype != np.uint8 or image_HW3.shape != expected:
            raise ValueError(
                f"the panorama is {image_HW3.dtype} and has the shape {image_HW3.shape}; this sampler is for uint8 of "
                f"{expected}"
            )
        grid = self._grid
        patch_RS3 = grid.patch.cut_out(image_HW3, self.vertical_fov == FULL_SPHERE_DEGREES)
        view_hw3 = cv2.remap(patch_RS3, grid.places_hw2, grid.fractions_hw, cv2.INTER_LINEAR)
        if not grid.covered:
            view_hw3[~grid.inside_hw] = 0
        return np.asarray(view_hw3, np.uint8)

    @cached_property
    def _grid(self) -> _Grid:
        return _build_grid(self)


@dataclass(frozen=True)
class _Patch:
    """The part of a panorama that a view reads; rows -1 and H lie beyond the first and last row."""

    top: int
    rows: int
    left: int
    """Any integer: columns wrap."""
    columns: int

    def cut_out(self, image_HW3: ImageArray, is_full: bool) -> ImageArray:
        """The patch_RS3 of a panorama."""
        height, width = image_HW3.shape[:2]

        def rows(first: int, last: int, left: int) -> ImageArray:
            return cut(image_HW3, Window(first, left % width, last - first, self.columns))

        bottom = self.top + self.rows
        parts = [rows(max(self.top, 0), min(bottom, height), self.left)]
        # Beyond a pole the image continues with the same row, half a turn away; beyond a band's edge nothing is seen.
        beyond = self.left + (width // 2 if is_full else 0)
        if self.top < 0:
            parts.insert(0, rows(0, 1, beyond))
        if bottom > height:
            parts.append(rows(height - 1, height, beyond))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class _Grid:
    """Where the pixels of a view lie; arrays are read-only."""

    patch: _Patch
    places_hw2: npt.NDArray[np.int16]
    """The upper left of the four pixels of the patch from which a pixel is interpolated."""
    fractions_hw: npt.NDArray[np.uint16]
    """Its offset from there in 32nds of a pixel: 32 * y + x."""
    nearest_hw: npt.NDArray[np.intp]
    """Flat index of the nearest pixel in the panorama."""
    inside_hw: npt.NDArray[np.bool_]
    covered: bool
    """Whether all of the view is inside."""


@lru_cache(maxsize=64)
def _build_grid(view: PerspectiveSampler) -> _Grid:
    height, width = view.panorama_height, view.panorama_width
    rays_hw3 = perspective_rays(view.height, view.width, view.horizontal_fov, view.yaw, view.pitch, view.roll)
    row_hw, column_hw = panorama_coordinates(rays_hw3, height, width, view.vertical_fov)
    inside_hw = (row_hw >= -0.5) & (row_hw <= height - 0.5)
    row_hw = np.clip(row_hw, -0.5, height - 0.5)
    nearest_hw = np.clip(np.rint(row_hw), 0, height - 1) * width + np.rint(column_hw) % width
    # Columns are counted from behind the middle, so that those of a view without a pole are contiguous.
    behind = int(column_hw[view.height // 2, view.width // 2]) - width // 2
    column_hw = np.mod(column_hw - behind, width)
    top, left = int(np.floor(row_hw.min())), int(np.floor(column_hw.min()))
    patch = _Patch(top, int(row_hw.max()) + 2 - top, behind + left, int(column_hw.max()) + 2 - left)
    x_hw, y_hw = (column_hw - left).astype(np.float32), (row_hw - top).astype(np.float32)
    places_hw2, fractions_hw = cv2.convertMaps(x_hw, y_hw, cv2.CV_16SC2)
    grid = _Grid(
        patch,
        np.asarray(places_hw2, np.int16),
        np.asarray(fractions_hw, np.uint16),
        nearest_hw.astype(np.intp),
        inside_hw,
        bool(inside_hw.all()),
    )
    for array in (grid.places_hw2, grid.fractions_hw, grid.nearest_hw, grid.inside_hw):
        array.setflags(write=False)
    return grid
