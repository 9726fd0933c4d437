"""Cameras: which ray belongs to a pixel, and in which rectangle of pixels a shape can appear.

Legend: N shapes, P = H * W pixels, E edges of a bounding box (all pairs of its corners).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from pipeline.panorama.sphere import panorama_rays, perspective_rays, rotation
from pipeline.world.scene import Float, Int, Scene

_EDGES = np.array(list(combinations(range(8), 2)))
_NEAR = np.float32(0.05)


@dataclass(frozen=True)
class Regions:
    """Rectangles of pixels; columns may run past the width of a panorama, where they wrap."""

    top_N: Int
    bottom_N: Int
    left_N: Int
    right_N: Int

    @property
    def size_N(self) -> Int:
        """Pixels per rectangle, 0 where a shape cannot be seen."""
        rows, columns = self.bottom_N - self.top_N, self.right_N - self.left_N
        return np.asarray(np.maximum(rows, 0) * np.maximum(columns, 0), np.int32)


@dataclass(frozen=True)
class Rays:
    """Rays of all pixels in world coordinates; one row where all pixels share origin or direction."""

    height: int
    width: int
    origin_P3: Float
    direction_P3: Float


def _whole(low_N: Float, high_N: Float, end: int | None) -> tuple[Int, Int]:
    """Pixel range [first, last) that covers pixel-index interval [low, high] and a margin for rounding."""
    first, last = np.floor(low_N - 0.01), np.ceil(high_N + 0.01) + 1
    if end is not None:
        first, last = np.clip(first, 0, end), np.clip(last, 0, end)
    return first.astype(np.int32), last.astype(np.int32)


def _footprint_distance(points_N83: Float) -> Float:
    """Smallest level distance of the corners' convex hull from the origin, metres [N]; right where it is outside."""
    a = points_N83[:, _EDGES[:, 0]][..., [0, 2]]
    along = points_N83[:, _EDGES[:, 1]][..., [0, 2]] - a
    share = np.clip(-(a * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-9), 0, 1)
    nearest = a + share[..., None] * along
    return np.asarray(np.sqrt((nearest * nearest).sum(-1)).min(1), np.float32)


@dataclass(frozen=True)
class PanoramaCamera:
    """A full sphere around the eye; `yaw` in degrees turns it to the right."""

    scene: Scene
    height: int
    width: int
    yaw: float = 0.0

    @property
    def _turn_33(self) -> Float:
        return rotation(self.scene.heading + self.yaw, 0).astype(np.float32)

    def rays(self) -> Rays:
        """Rays of all pixels."""
        directions = panorama_rays(self.height, self.width).reshape(-1, 3).astype(np.float32) @ self._turn_33.T
        return Rays(self.height, self.width, np.asarray([self.scene.eye_3], np.float32), directions)

    def pixel_angle(self) -> float:
        """Radians per pixel."""
        return np.pi / self.height

    def regions(self, corners_N83: Float) -> Regions:
        """Azimuth and elevation bounds of convex hulls; a hull around the eye's axis may be anywhere."""
        points = (corners_N83 - np.asarray(self.scene.eye_3, np.float32)) @ self._turn_33
        middle = points.mean(1)
        azimuth = np.arctan2(middle[:, 0], middle[:, 2])
        offset = np.arctan2(points[..., 0], points[..., 2]) - azimuth[:, None]
        offset = (offset + np.pi) % (2 * np.pi) - np.pi
        around = offset.max(1) - offset.min(1) >= np.pi
        low, high = np.where(around, -np.pi, offset.min(1)), np.where(around, np.pi - 1e-3, offset.max(1))
        scale = self.width / (2 * np.pi)
        left, right = _whole((azimuth + low + np.pi) * scale - 0.5, (azimuth + high + np.pi) * scale - 0.5, None)
        right = np.minimum(right, left + self.width)
        return Regions(*self._rows(points, around), left, right)

    def _rows(self, points_N83: Float, around_N: Float) -> tuple[Int, Int]:
        """Rows between the highest and lowest elevation that the hull can reach."""
        near = np.where(around_N, np.float32(1e-3), np.maximum(_footprint_distance(points_N83), 1e-3))
        far = np.hypot(points_N83[..., 0], points_N83[..., 2]).max(1)
        up, down = -points_N83[..., 1].min(1), -points_N83[..., 1].max(1)
        highest = np.arctan2(up, np.where(up > 0, near, far))
        lowest = np.arctan2(down, np.where(down > 0, far, near))
        scale = self.height / np.pi
        return _whole((np.pi / 2 - highest) * scale - 0.5, (np.pi / 2 - lowest) * scale - 0.5, self.height)


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole view from the eye; angles in degrees."""

    scene: Scene
    height: int
    width: int
    horizontal_fov: float
    yaw: float
    pitch: float
    roll: float

    def _turn_33(self) -> Float:
        heading = rotation(self.scene.heading, 0)
        return np.asarray(heading @ rotation(self.yaw, self.pitch, self.roll), np.float32)

    def _focal(self) -> float:
        return float(0.5 * self.width / np.tan(np.radians(self.horizontal_fov) / 2))

    def rays(self) -> Rays:
        """Rays of all pixels."""
        rays = perspective_rays(self.height, self.width, self.horizontal_fov, self.yaw, self.pitch, self.roll)
        directions = rays.reshape(-1, 3).astype(np.float32) @ rotation(self.scene.heading, 0).astype(np.float32).T
        return Rays(self.height, self.width, np.asarray([self.scene.eye_3], np.float32), directions)

    def pixel_angle(self) -> float:
        """Radians per pixel, in the middle."""
        return 1 / self._focal()

    def regions(self, corners_N83: Float) -> Regions:
        """Bounds of the projected hulls, cut at a near plane."""
        points = (corners_N83 - np.asarray(self.scene.eye_3, np.float32)) @ self._turn_33()
        a, b = points[:, _EDGES[:, 0]], points[:, _EDGES[:, 1]]
        cut = np.clip((_NEAR - a[..., 2]) / np.where(a[..., 2] == b[..., 2], 1, b[..., 2] - a[..., 2]), 0, 1)
        crossing = (a[..., 2] < _NEAR) != (b[..., 2] < _NEAR)
        points = np.concatenate((points, a + np.where(crossing, cut, 0)[..., None] * (b - a)), axis=1)
        seen = points[..., 2] > _NEAR * 0.99
        scaled = points[..., :2] * (self._focal() / np.maximum(points[..., 2], _NEAR * 0.9))[..., None]
        low = np.where(seen[..., None], scaled, np.inf).min(1) + np.array([self.width, self.height]) / 2 - 0.5
        high = np.where(seen[..., None], scaled, -np.inf).max(1) + np.array([self.width, self.height]) / 2 - 0.5
        low, high = np.clip(low, -9, 9e4), np.clip(high, -9, 9e4)
        left, right = _whole(low[:, 0], high[:, 0], self.width)
        top, bottom = _whole(low[:, 1], high[:, 1], self.height)
        return Regions(top, bottom, left, right)


@dataclass(frozen=True)
class SunCamera:
    """The scene seen from the sun: a pixel is a square of the ground, whose ray comes down along the sunlight."""

    sun_3: tuple[float, float, float]
    middle_2: tuple[float, float]
    extent: float
    size: int
    start: float = 120.0

    def project(self, points_n3: Float) -> Float:
        """Pixel-index coordinates (column, row) [..., 2] of where the sunlight through points meets the ground."""
        slope = np.array([self.sun_3[0], self.sun_3[2]], np.float32) / np.float32(self.sun_3[1])
        level = points_n3[..., [0, 2]] - points_n3[..., 1:2] * slope - np.asarray(self.middle_2, np.float32)
        return np.asarray((level / np.float32(2 * self.extent) + np.float32(0.5)) * self.size - np.float32(0.5))

    def rays(self) -> Rays:
        """Parallel rays from high above, one per square."""
        steps = ((np.arange(self.size) + 0.5) / self.size - 0.5) * 2 * self.extent
        x, z = np.meshgrid(steps + self.middle_2[0], steps + self.middle_2[1])
        ground = np.stack((x, np.zeros_like(x), z), -1).reshape(-1, 3).astype(np.float32)
        sun = np.asarray(self.sun_3, np.float32)
        return Rays(self.size, self.size, ground + sun * np.float32(self.start), -sun[None])

    def regions(self, corners_N83: Float) -> Regions:
        """Bounds of the shadows."""
        pixels = self.project(corners_N83)
        left, right = _whole(pixels[..., 0].min(1), pixels[..., 0].max(1), self.size)
        top, bottom = _whole(pixels[..., 1].min(1), pixels[..., 1].max(1), self.size)
        return Regions(top, bottom, left, right)
