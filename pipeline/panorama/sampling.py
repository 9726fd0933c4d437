"""Perspective views of a panorama: bilinear for images, nearest for labels; grids are built once and reused.

Views are for windows on the true sphere, which no stage has yet. Bilinear ones are OpenCV's `remap` in fixed-point
arithmetic: colours are taken from the right place to a 64th of a pixel in either direction. A view reads a patch: the
part of the panorama that it sees, without seam, in which the right neighbour is the next pixel and the lower one lies a
row further on, beyond a pole too.

Legend: H W panorama, h w view, R S patch (rows, columns), 3 = (red, green, blue), 2 = (x, y) in a patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import ImageArray
from pipeline.classes import IGNORE
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
        self._require_panorama(image_HW3, (self.panorama_height, self.panorama_width, 3))
        grid = self._grid
        patch_RS3 = grid.patch.cut_out(image_HW3, self.vertical_fov == FULL_SPHERE_DEGREES)
        view_hw3 = cv2.remap(patch_RS3, grid.places_hw2, grid.fractions_hw, cv2.INTER_LINEAR)
        if not grid.covered:
            view_hw3[~grid.inside_hw] = 0
        return np.asarray(view_hw3, np.uint8)

    def labels(self, labels_HW: ImageArray) -> ImageArray:
        """Nearest view labels_hw of a label map; 255 outside.

        Raises:
            ValueError: as `image`.
        """
        self._require_panorama(labels_HW, (self.panorama_height, self.panorama_width))
        view_hw = np.take(labels_HW.reshape(-1), self._grid.nearest_hw)
        if not self._grid.covered:
            view_hw[~self._grid.inside_hw] = IGNORE
        return view_hw

    @cached_property
    def _grid(self) -> _Grid:
        return _build_grid(self)

    @staticmethod
    def _require_panorama(panorama: ImageArray, expected: tuple[int, ...]) -> None:
        if panorama.dtype != np.uint8 or panorama.shape != expected:
            raise ValueError(
                f"the panorama is {panorama.dtype} and has the shape {panorama.shape}; this sampler is for uint8 of "
                f"{expected}"
            )


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
        # Beyond a pole the image goes on with the same row, half a turn away; beyond a band's edge it is not seen.
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
    """The upper left of the four pixels of the patch between which a pixel lies."""
    fractions_hw: npt.NDArray[np.uint16]
    """How far it lies from there to the others: 32 * y + x, in 32nds."""
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
