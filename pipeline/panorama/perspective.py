"""Perspective views of a panorama as a kind of `View`: pinhole images, without equirectangular distortion.

Values of a view are projected back to the panorama's pixels: nearest for labels, flags and ids, bilinear for numbers.
Each map between the two is computed once per view and process.

Paper: figure 1 names the distortion; its windows keep it. We: a pinhole image has none, and a network trained on
perspective images sees what it was trained on, at the poles, too.

Legend: C channels, H W panorama, h w view, f g footprint (rows, columns), 3 = RGB or (x, y, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, FloatArray, ScalarT
from pipeline.panorama.config import VIEW_GROUPS, ViewsConfig
from pipeline.panorama.sampling import PerspectiveSampler
from pipeline.panorama.sphere import (
    FULL_SPHERE_DEGREES,
    rays_from_angles,
    rotation,
)
from pipeline.panorama.windows import Window

_MIN_WEIGHT = 1e-4
"""Weight at a view's border, so that pixels seen by one view only never have weight 0."""
_STRIP = 64
"""Rows of the panorama whose rays are computed at once."""


@dataclass(frozen=True)
class PerspectiveView:
    """A pinhole view of panoramas of one size. Angles are degrees, signs as in `sphere`."""

    height: int
    """Rows of the picture, pixels."""
    width: int
    """Columns of the picture, pixels."""
    horizontal_fov: float
    """Horizontal field of view, above 0 and below 180."""
    yaw: float
    """Yaw of the optical axis."""
    pitch: float
    """Pitch of the optical axis."""
    panorama_height: int
    """Rows of the panorama, pixels."""
    panorama_width: int
    """Columns of the panorama, pixels."""
    vertical_fov: float = FULL_SPHERE_DEGREES
    """Vertical field of view of the panorama."""
    weight: float = 1.0
    """Factor of its blend weights."""

    @property
    def footprint(self) -> Window:
        """The smallest window of the panorama that contains all pixels seen by the view."""
        return _maps(self).footprint

    def is_closed(self, panorama_width: int) -> bool:
        """Never: the picture ends on all sides."""
        return False

    @property
    def covered_hw(self) -> npt.NDArray[np.bool_]:
        """Pixels that the panorama covers, [h, w]; all, of a full sphere."""
        return self._sampler(self.panorama_height, self.panorama_width).inside_hw

    def cut_image(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture [h, w, 3], bilinear; black beyond the rows of a band.

        Args:
            image_HW3: the panorama, at any size: H and W are those of its pixels.
        """
        return self._sampler(*image_HW3.shape[:2]).image(image_HW3)

    def _sampler(self, height: int, width: int) -> PerspectiveSampler:
        return PerspectiveSampler(
            self.height, self.width, self.horizontal_fov, self.yaw, self.pitch, 0, height, width, self.vertical_fov
        )

    def cut_nearest(self, values_HW: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """Labels or flags at the view's pixels, [h, w]; those of the nearest row beyond the rows of a band."""
        return values_HW.reshape(-1)[self._sampler(self.panorama_height, self.panorama_width).nearest_hw]

    def project_nearest(self, values_hw: npt.NDArray[ScalarT], outside: Any = 0) -> npt.NDArray[ScalarT]:
        """Labels, flags or ids on the footprint, [f, g]; `outside` where the view sees nothing."""
        maps = _maps(self)
        rows_fg, columns_fg = maps.nearest_fg
        return np.where(maps.seen_fg, values_hw[rows_fg, columns_fg], np.asarray(outside, values_hw.dtype))

    def project_linear(self, values_Chw: FloatArray) -> FloatArray:
        """Float64Array on the footprint, [C, f, g], bilinear; those of the border where the view sees nothing."""
        maps = _maps(self)
        projected = [
            cv2.remap(
                np.ascontiguousarray(of_class), maps.x_fg, maps.y_fg, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
            )
            for of_class in values_Chw
        ]
        return np.asarray(projected, np.float32).reshape(len(values_Chw), *maps.x_fg.shape)

    def coordinates(self, rows: Float64Array, columns: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Coordinates in the view of points of the panorama: pixels from its upper and left edge, [f, g] each.

        Points behind the camera are far outside.
        """
        yaw = (columns / self.panorama_width - 0.5) * 2 * np.pi
        pitch = (0.5 - rows / self.panorama_height) * np.radians(self.vertical_fov)
        x, y, z = np.moveaxis(rays_from_angles(yaw[None, :], pitch[:, None]) @ rotation(self.yaw, self.pitch), -1, 0)
        focal = 0.5 * self.width / np.tan(np.radians(self.horizontal_fov) / 2)
        is_before = z > 1e-6
        depth = np.where(is_before, z, 1)
        far = 10.0 * max(self.height, self.width)
        y_fg = np.where(is_before, np.clip(focal * y / depth, -far, far), far) + self.height / 2
        x_fg = np.where(is_before, np.clip(focal * x / depth, -far, far), far) + self.width / 2
        return y_fg, x_fg

    def blend_weights(self, height: int, width: int, stride: int = 1) -> FloatArray:
        """Raised-cosine weights [f, g] on the footprint in cells of stride x stride pixels; 0 where nothing is seen."""
        return _weights(self, stride)


def perspective_views(height: int, width: int, vertical_fov: float, config: ViewsConfig) -> tuple[PerspectiveView, ...]:
    """Square views of a panorama of H x W pixels: around the horizon, tilted, and near the poles.

    Views that would see nothing of a band are left out.
    """
    looks = [
        (turn * 360 / config.count(group), config.pitch(group), config.weight(group))
        for group in VIEW_GROUPS
        if config.sees(group, vertical_fov)
        for turn in range(config.count(group))
    ]
    return tuple(
        PerspectiveView(config.size, config.size, config.fov, yaw, pitch, height, width, vertical_fov, weight)
        for yaw, pitch, weight in looks
    )


@dataclass(frozen=True, eq=False)
class _Maps:
    """Maps from a view's footprint to the view; arrays are read-only."""

    footprint: Window
    seen_fg: npt.NDArray[np.bool_]
    y_fg: FloatArray
    """Row in the view; integers are pixel centres."""
    x_fg: FloatArray
    nearest_fg: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    """Row and column of the view's nearest pixel."""


@lru_cache(maxsize=128)
def _maps(view: PerspectiveView) -> _Maps:
    footprint = _footprint(view)
    y_fg, x_fg = view.coordinates(*_centres(footprint, 1))
    seen_fg = _is_inside(view, y_fg, x_fg)
    rows_fg = np.clip(np.floor(y_fg), 0, view.height - 1).astype(np.intp)
    columns_fg = np.clip(np.floor(x_fg), 0, view.width - 1).astype(np.intp)
    arrays = (seen_fg, (y_fg - 0.5).astype(np.float32), (x_fg - 0.5).astype(np.float32), rows_fg, columns_fg)
    for array in arrays:
        array.setflags(write=False)
    return _Maps(footprint, *arrays[:3], (rows_fg, columns_fg))


@lru_cache(maxsize=512)
def _weights(view: PerspectiveView, stride: int) -> FloatArray:
    y_fg, x_fg = view.coordinates(*_centres(view.footprint.in_cells(stride), stride))
    across, down = (np.sin(np.pi * np.clip(place, 0, side) / side) ** 2
                    for place, side in ((x_fg, view.width), (y_fg, view.height)))  # fmt: skip
    raised_fg = view.weight * (across * down + _MIN_WEIGHT)
    weights_fg = np.where(_is_inside(view, y_fg, x_fg), raised_fg, 0).astype(np.float32)
    weights_fg.setflags(write=False)
    return weights_fg


def _footprint(view: PerspectiveView) -> Window:
    """The smallest window of the panorama that contains all pixels whose centres the view sees."""
    height, width = view.panorama_height, view.panorama_width
    whole = Window(0, 0, height, width)
    seen_HW = np.empty((height, width), np.bool_)
    rows, columns = _centres(whole, 1)
    for top in range(0, height, _STRIP):
        seen_HW[top : top + _STRIP] = _is_inside(view, *view.coordinates(rows[top : top + _STRIP], columns))
    seen_rows, seen_columns = np.flatnonzero(seen_HW.any(axis=1)), np.flatnonzero(seen_HW.any(axis=0))
    if len(seen_rows) == 0:
        raise ValueError(f"{view} sees no pixel of the panorama")
    # The window starts after the longest run of columns that are not seen.
    gaps = np.diff(seen_columns, append=seen_columns[0] + width)
    longest = int(gaps.argmax())
    left = int(seen_columns[(longest + 1) % len(seen_columns)])
    top, bottom = int(seen_rows[0]), int(seen_rows[-1]) + 1
    return Window(top, left, bottom - top, width + 1 - int(gaps[longest]))


def _centres(window: Window, stride: int) -> tuple[Float64Array, Float64Array]:
    """Pixel positions of the centres of a window's cells: its rows, and its columns, which may run beyond W."""
    rows = window.row + np.arange(0.5, window.height, dtype=np.float64)
    columns = window.column + np.arange(0.5, window.width, dtype=np.float64)
    return rows * stride, columns * stride


def _is_inside(view: PerspectiveView, y_fg: Float64Array, x_fg: Float64Array) -> npt.NDArray[np.bool_]:
    return (y_fg > 0) & (y_fg < view.height) & (x_fg > 0) & (x_fg < view.width)
