"""Levels panoramas of tilted cameras: rotates the sphere so that the horizon is the middle row, and back.

The angles are those of a picture's GPano tags. By Google's "Photo Sphere XMP Metadata"
(developers.google.com/streetview/spherical-metadata) PosePitchDegrees is the pitch of the picture's middle above the
horizon, and as PoseRollDegrees grows, the horizon turns counterclockwise in the picture: the camera's right side goes
down. Roll comes first, then pitch, then heading; that is `sphere.rotation`. The heading only moves columns: it is left
alone.

Images are sampled bilinearly, labels and masks from the nearest pixel; columns wrap, and beyond a pole the sphere
continues half a turn away; the first and last row of a band are repeated beyond it. Parts of a levelled band that a
tilted camera did not see are black and ignored.

Legend: H W canvas, 3 = (red, green, blue).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import ScalarT
from pipeline.classes import IGNORE
from pipeline.errors import counted
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import (
    FULL_SPHERE_DEGREES,
    panorama_coordinates,
    pixel_pitch,
    pixel_yaw,
    rays_from_angles,
    rotation,
)

_Strip = tuple[slice, npt.NDArray[np.float64], npt.NDArray[np.float64]]
_ROUNDING = 1e-6
_STRIP_PIXELS = 1 << 18
"""Pixels whose rays are computed at once."""


def level_image(image_HW3: npt.NDArray[np.uint8], placement: Placement) -> npt.NDArray[np.uint8]:
    """The levelled image; the given one if the camera was not tilted."""
    if not placement.is_tilted:
        return image_HW3
    height, width = image_HW3.shape[:2]
    half_turn = width // 2 if placement.vertical_fov == FULL_SPHERE_DEGREES else 0  # a band ends before the poles
    first_1W3, last_1W3 = (np.roll(row_1W3, half_turn, axis=1) for row_1W3 in (image_HW3[:1], image_HW3[-1:]))
    padded = np.concatenate((first_1W3, image_HW3, last_1W3))
    padded = np.concatenate((padded[:, -1:], padded, padded[:, :1]), axis=1)
    level_HW3 = np.empty_like(image_HW3)
    for strip, row, column in _sources(height, width, placement.vertical_fov, _camera_to_level(placement).T):
        x, y = (column + 1).astype(np.float32), (np.clip(row, -1, height) + 1).astype(np.float32)
        level_HW3[strip] = cv2.remap(padded, x, y, cv2.INTER_LINEAR)
        level_HW3[strip][~_is_inside(row, height)] = 0
    return level_HW3


def level_values(values_HW: npt.NDArray[ScalarT], placement: Placement) -> npt.NDArray[ScalarT]:
    """Labels or a mask, levelled; the given ones if the camera was not tilted. IGNORE, or True, where it saw nothing.

    Args:
        values_HW: one value per pixel of the canvas.
        placement: the camera's tilt and the canvas' field of view.
    """
    return _rotate_values(values_HW, placement, _camera_to_level(placement).T, IGNORE)


def unlevel_values(
    values_HW: npt.NDArray[ScalarT], placement: Placement, outside: int = IGNORE
) -> npt.NDArray[ScalarT]:
    """The inverse of `level_values`, to the nearest pixel; `outside` where the level canvas has nothing."""
    return _rotate_values(values_HW, placement, _camera_to_level(placement), outside)


def level_note(tilts: Sequence[float]) -> str:
    """A sentence on how many panoramas were levelled and by how much; empty for none."""
    if not tilts:
        return ""
    return (f"{counted(len(tilts), 'panorama')} levelled: according to GPano tags, the camera was tilted by up to "
            f'{max(tilts):.1f} degrees (median {median(tilts):.1f}); panorama.level = "off" (`predict`: --no-level) '
            "leaves them tilted")  # fmt: skip


def _camera_to_level(placement: Placement) -> npt.NDArray[np.float64]:
    """Camera-to-level rotation [3, 3]."""
    return rotation(0, placement.pitch, placement.roll)


def _sources(height: int, width: int, vertical_fov: float, turn: npt.NDArray[np.float64]) -> Iterator[_Strip]:
    """Strips of the new canvas: rows, and (row, column) of all their pixels in the old canvas.

    `turn` rotates rays of the new canvas to those of the old one.
    """
    yaw_W, pitch_H = pixel_yaw(width), pixel_pitch(height, vertical_fov)
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        strip = slice(top, min(top + step, height))
        rays = rays_from_angles(yaw_W[None, :], pitch_H[strip, None]) @ turn.T
        yield strip, *panorama_coordinates(rays, height, width, vertical_fov)


def _rotate_values(
    values_HW: npt.NDArray[ScalarT], placement: Placement, turn: npt.NDArray[np.float64], outside: int
) -> npt.NDArray[ScalarT]:
    if not placement.is_tilted:
        return values_HW
    height, width = values_HW.shape
    turned_HW = np.empty_like(values_HW)
    for strip, row, column in _sources(height, width, placement.vertical_fov, turn):
        rows = np.clip(np.rint(row), 0, height - 1).astype(np.intp)
        turned_HW[strip] = values_HW[rows, np.rint(column).astype(np.intp) % width]
        turned_HW[strip][~_is_inside(row, height)] = np.asarray(outside).astype(values_HW.dtype)
    return turned_HW


def _is_inside(row: npt.NDArray[np.float64], height: int) -> npt.NDArray[np.bool_]:
    """Whether row coordinates (integers are pixel centres) lie on a canvas; on a full sphere all do."""
    return (row >= -0.5 - _ROUNDING) & (row <= height - 0.5 + _ROUNDING)
