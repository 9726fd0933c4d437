"""Where rays meet shapes: one function per `Kind`, in the unit coordinates of the shape.

Legend: n (ray, shape) pairs. Rays are origin_n3 + t * direction_n3. Each function returns (t_n, face_n): inf where the
ray misses; the face tells which side was met.
"""

from __future__ import annotations

import numpy as np

from pipeline.world.cutouts import keep_card, keep_leaves
from pipeline.world.scene import Bool, Byte, Float

FACES = ("+x", "-x", "bottom", "top", "+z", "-z")
RIGHT, LEFT, BOTTOM, TOP, BACK, FRONT = range(6)
SIDE, CAP_LOW, CAP_HIGH = range(3)
NEAR = np.float32(0.02)
"""Hits closer than this, in metres, are not seen."""
_TINY = np.float32(1e-9)


def _later(enter: Float, face: Byte, t: Float, entering: Bool, new_face: int) -> None:
    """Keep the latest entry into a half space, in place."""
    better = entering & (t > enter)
    np.copyto(enter, t, where=better)
    np.copyto(face, np.uint8(new_face), where=better)


def hit_box(origin_n3: Float, direction_n3: Float, taper_n2: Float) -> tuple[Float, Byte]:
    """A box is the overlap of six half spaces; tapering tilts the four upright ones."""
    o, d = origin_n3.T, direction_n3.T
    enter, leave = np.full(len(o[0]), -np.inf, np.float32), np.full(len(o[0]), np.inf, np.float32)
    face = np.zeros(len(enter), np.uint8)
    for axis in range(3):
        slope = taper_n2[:, axis // 2] * np.float32(0.5) if axis != 1 else np.float32(0)
        for sign in (1, -1):
            along = sign * d[axis] - slope * d[1]
            gap = 1 - slope - sign * o[axis] + slope * o[1]
            along = np.where(np.abs(along) < _TINY, _TINY, along)
            t = gap / along
            _later(enter, face, t, along < 0, 2 * axis + (sign < 0))
            np.minimum(leave, t, out=leave, where=along > 0)
    return np.where((enter < leave) & (enter > NEAR), enter, np.float32(np.inf)), face


def hit_ellipsoid(
    origin_n3: Float, direction_n3: Float, half_n3: Float, salt_n: Float, leafy_n: Bool, style_n4: Float
) -> tuple[Float, Byte]:
    """The near side of a unit sphere; through the holes of a leafy one, the inside of its far side."""
    a = np.einsum("ni,ni->n", direction_n3, direction_n3)
    b = np.einsum("ni,ni->n", origin_n3, direction_n3)
    root = b * b - a * (np.einsum("ni,ni->n", origin_n3, origin_n3) - 1)
    rows = np.flatnonzero(root > 0)
    t, face = np.full(len(a), np.inf, np.float32), np.zeros(len(a), np.uint8)
    spread = np.sqrt(root[rows])
    near, far = (-b[rows] - spread) / a[rows], (-b[rows] + spread) / a[rows]
    t[rows] = np.where(near > NEAR, near, np.float32(np.inf))
    leafy = leafy_n[rows]
    rows, near, far = rows[leafy], near[leafy], far[leafy]
    facing = spread[leafy] / np.sqrt(a[rows])
    t[rows] = np.inf
    for candidate, code in ((far, 1), (near, 0)):
        unit_n3 = origin_n3[rows] + candidate[:, None] * direction_n3[rows]
        kept = keep_leaves(unit_n3, half_n3[rows], salt_n[rows], facing, style_n4[rows, 0]) & (candidate > NEAR)
        t[rows[kept]], face[rows[kept]] = candidate[kept], code
    return t, face


def hit_cylinder(origin_n3: Float, direction_n3: Float) -> tuple[Float, Byte]:
    """The mantle x^2 + z^2 = 1, |y| <= 1 and its two caps."""
    (ox, oy, oz), (dx, dy, dz) = origin_n3.T, direction_n3.T
    a, b = np.maximum(dx * dx + dz * dz, _TINY), ox * dx + oz * dz
    root = b * b - a * (ox * ox + oz * oz - 1)
    t = (-b - np.sqrt(np.maximum(root, 0))) / a
    t = np.where((root > 0) & (np.abs(oy + t * dy) <= 1) & (t > NEAR), t, np.float32(np.inf))
    safe = np.where(np.abs(dy) < _TINY, _TINY, dy)
    cap = (-np.sign(dy) - oy) / safe
    inside = (ox + cap * dx) ** 2 + (oz + cap * dz) ** 2 <= 1
    face = np.where(inside & (cap > NEAR) & (cap < t), np.where(dy > 0, CAP_HIGH, CAP_LOW), SIDE).astype(np.uint8)
    return np.where(face == SIDE, t, cap), face


def hit_card(
    origin_n3: Float, direction_n3: Float, half_n3: Float, cutout_n: Byte, style_n4: Float
) -> tuple[Float, Byte]:
    """The square z = 0 without what is cut out; face FRONT looks towards -z."""
    (ox, oy, oz), (dx, dy, dz) = origin_n3.T, direction_n3.T
    t = -oz / np.where(np.abs(dz) < _TINY, _TINY, dz)
    x, y = ox + t * dx, oy + t * dy
    inside = (np.abs(x) <= 1) & (np.abs(y) <= 1) & (t > NEAR)
    rows = np.flatnonzero(inside)
    inside[rows] = keep_card(x[rows], y[rows], half_n3[rows], cutout_n[rows], style_n4[rows])
    face = np.where(dz > 0, np.uint8(FRONT), np.uint8(BACK))
    return np.where(inside, t, np.float32(np.inf)), face
