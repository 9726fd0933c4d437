"""The one spherical convention of this project. Everything that turns pixels into directions imports it.

Axes (right-handed, as in a camera frame): x right, y down, z forward; directions are unit vectors.

            -y (up)   z (forward, yaw 0, pitch 0: the middle of the panorama)
              |      /
              |     /
              |    /        yaw grows to the right: +90 degrees looks along +x
              |   /         pitch grows upwards:    +90 degrees looks along -y
              |  /
              | /
              o------------ x (right)
               \
                y (down)

A panorama is equirectangular: W columns span 360 degrees of yaw, H rows span `vertical_fov` degrees of pitch
around the horizon (180 for a full sphere, less for a band). Pixels are areas; the centre of pixel (row v, column u) is

    yaw   = ((u + 0.5) / W - 0.5) * 360                 in (-180, 180)
    pitch = (0.5 - (v + 0.5) / H) * vertical_fov        in (-vertical_fov / 2, vertical_fov / 2)

Columns wrap: column W is column 0. Rows do not: beyond the first and last row of a full sphere lie the poles.
A yaw of the camera by k * 360 / W degrees is a roll of the image by k columns, exactly.

Legend: H W panorama, h w view, 3 = (x, y, z).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from pipeline.arrays import AnyFloatArray

FULL_SPHERE_DEGREES = 180.0


def pixel_yaw(width: int) -> npt.NDArray[np.float64]:
    """Yaw of the column centres, radians, shape [W], rising from -pi to pi."""
    return ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi


def pixel_pitch(height: int, vertical_fov: float) -> npt.NDArray[np.float64]:
    """Pitch of the row centres, radians, shape [H], falling from +vertical_fov/2 to -vertical_fov/2 (degrees in)."""
    return (0.5 - (np.arange(height) + 0.5) / height) * np.radians(vertical_fov)


def rays_from_angles(yaw: npt.ArrayLike, pitch: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Unit directions of shape broadcast(yaw, pitch) + (3,) from angles in radians."""
    yaw_b, pitch_b = np.broadcast_arrays(np.asarray(yaw, np.float64), np.asarray(pitch, np.float64))
    return np.stack((np.cos(pitch_b) * np.sin(yaw_b), -np.sin(pitch_b), np.cos(pitch_b) * np.cos(yaw_b)), axis=-1)


def angles_from_rays(rays: AnyFloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(yaw, pitch) in radians of directions of shape [..., 3]; they need not be of unit length."""
    x, y, z = np.moveaxis(np.asarray(rays, np.float64), -1, 0)
    return np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))


def panorama_rays(height: int, width: int, vertical_fov: float = FULL_SPHERE_DEGREES) -> npt.NDArray[np.float64]:
    """Unit directions rays_HW3 of all pixel centres of a panorama."""
    return rays_from_angles(pixel_yaw(width)[None, :], pixel_pitch(height, vertical_fov)[:, None])


def rotation(yaw: float, pitch: float, roll: float = 0.0) -> npt.NDArray[np.float64]:
    """Camera-to-world rotation [3, 3] (degrees): roll about z first, then pitch up, then yaw to the right."""
    a, b, c = np.radians((yaw, pitch, roll))
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    lift = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(turn @ lift @ tilt)


def perspective_rays(
    height: int, width: int, horizontal_fov: float, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0
) -> npt.NDArray[np.float64]:
    """Unit directions rays_hw3 of the pixel centres of a pinhole view (square pixels, angles in degrees).

    Raises:
        ValueError: the view has no pixels, or horizontal_fov is not inside (0, 180).
    """
    if height < 1 or width < 1:
        raise ValueError(f"the view is {width}x{height}; it must have at least one column and one row")
    if not 0 < horizontal_fov < 180:
        raise ValueError(
            f"horizontal_fov is {horizontal_fov}; a pinhole view spans more than 0 and less than 180 degrees"
        )
    focal = 0.5 * width / np.tan(np.radians(horizontal_fov) / 2)
    x = np.arange(width) + 0.5 - width / 2
    y = np.arange(height) + 0.5 - height / 2
    rays = np.stack(np.broadcast_arrays(x[None, :], y[:, None], np.float64(focal)), axis=-1)
    rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.asarray(rays @ rotation(yaw, pitch, roll).T)


def panorama_coordinates(
    rays: AnyFloatArray, height: int, width: int, vertical_fov: float = FULL_SPHERE_DEGREES
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(row, column) of directions [..., 3] in pixel-index units: integers are pixel centres.

    Columns lie in [-0.5, W - 0.5) and wrap; rows outside [-0.5, H - 0.5] are directions that a band does not cover.
    """
    yaw, pitch = angles_from_rays(rays)
    row = (0.5 - pitch / np.radians(vertical_fov)) * height - 0.5
    column = np.mod((yaw / (2 * np.pi) + 0.5) * width, width) - 0.5
    return row, column


@lru_cache(maxsize=16)
def solid_angles(height: int, width: int, vertical_fov: float = FULL_SPHERE_DEGREES) -> npt.NDArray[np.float64]:
    """Solid angle of one pixel per row, steradians, shape [H], read-only; W * sum = 4 pi for a full sphere."""
    edges = (0.5 - np.arange(height + 1) / height) * np.radians(vertical_fov)
    weights = (np.sin(edges[:-1]) - np.sin(edges[1:])) * (2 * np.pi / width)
    weights.setflags(write=False)
    return np.asarray(weights)
