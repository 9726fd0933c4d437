"""Painted small things: sign plates, signal heads, clothes, heads, cars, wheels."""

from __future__ import annotations

import numpy as np

from pipeline.world.materials.base import Paint, Points
from pipeline.world.primitives import BACK, FRONT, LEFT, RIGHT, SIDE, TOP
from pipeline.world.scene import Bool, Cutout, Float
from pipeline.world.textures import cell_hash, clouds, mix, shuffle

_LAMP, _WINDOW, _CAR_LAMP, _LICENCE = 16, 16, 32, 48


def _border(points: Points, x: Float, y: Float) -> Float:
    """1 in the middle of a plate, 0 at its rim."""
    cutout = points.primitives.cutout_N[points.shape_n]
    square = 1 - np.maximum(np.abs(x), np.abs(y))
    disc = 1 - np.sqrt(x * x + y * y)
    triangle = np.minimum((0.5 * (y + 1) + 0.04 - np.abs(x)) * 0.9, 1 - y)
    diamond = 1 - np.abs(x) - np.abs(y)
    octagon = np.minimum(square, (1.41 - np.abs(x) - np.abs(y)) * 0.7)
    inner = np.where(cutout == Cutout.DISC, disc, np.where(cutout == Cutout.TRIANGLE, triangle, square))
    inner = np.where(cutout == Cutout.DIAMOND, diamond, np.where(cutout == Cutout.OCTAGON, octagon, inner))
    return np.asarray(inner, np.float32)


def _glyph(points: Points, x: Float, y: Float) -> Bool:
    """What is written on a plate: a bar, an arrow, letters, a figure, lines."""
    kind = points.style(0)
    bar = (np.abs(y) < 0.18) & (np.abs(x) < 0.6)
    head = (np.abs(x) < 0.4 * (y + 0.6)) & (y > -0.6) & (y < 0.0)
    arrow = head | ((np.abs(x) < 0.14) & (y > -0.1) & (y < 0.6))
    letters = (
        (cell_hash(np.floor(x * 4.5), np.floor(y * 3.5), points.salt_n) > 0.45) & (np.abs(y) < 0.7) & (np.abs(x) < 0.8)
    )
    figure = (x * x + (y + 0.4) ** 2 < 0.035) | ((np.abs(x) < 0.16 + 0.1 * np.abs(y)) & (y > -0.2) & (y < 0.6))
    lines = ((y * 2.2) % 1 < 0.4) & (np.abs(y) < 0.75) & (np.abs(x) < 0.75)
    return np.asarray(
        np.select([kind == k for k in range(1, 6)], [bar, arrow, letters, figure, lines], False), np.bool_
    )


def sign(points: Points) -> Paint:
    """A rim, a ground and a glyph on the front; grey metal on the back."""
    x, y = (points.metric_n3[:, :2] / points.half_n3[:, :2]).T
    inner = _border(points, x, y)
    rim = inner < 0.16
    board = points.style(0) == 0
    colour = np.where((rim | _glyph(points, x, y))[:, None], points.accent_n3, points.base_n3)
    colour = np.where((inner < 0.03)[:, None] & ~board[:, None], points.base_n3, colour)
    colour = np.where((points.face_n == BACK)[:, None], np.float32(0.3) + 0.3 * points.salt_n[:, None], colour)
    return Paint(np.asarray(colour, np.float32), points.part_n)


_SIGNALS = np.array([[1.5, 0.25, 0.2], [1.5, 0.95, 0.2], [0.3, 1.45, 0.6]], np.float32)


def light_housing(points: Points) -> Paint:
    """Lamps in a column on the front, one of them lit; style: (lamps, which is lit, lamp radius)."""
    x, y, _ = points.metric_n3.T
    lamps, lit, radius = points.style(0), points.style(1), points.style(2)
    top = -points.half_n3[:, 1]
    number = np.clip(np.floor((y - top) / (radius * np.float32(2.24))), 0, lamps - 1)
    middle = top + radius * np.float32(1.12) * (2 * number + 1)
    away = np.sqrt(x * x + (y - middle) ** 2) / radius
    lamp = (points.face_n == FRONT) & (away < 0.92)
    hue = _SIGNALS[np.where(number == lamps - 1, 2, number).astype(np.intp)]
    glow = np.where((number == lit)[:, None], hue, hue * np.float32(0.16) + np.float32(0.06))
    colour = np.where(lamp[:, None], glow, points.base_n3)
    ring = (points.face_n == FRONT) & (away >= 0.92) & (away < 1.05)
    colour = np.where(ring[:, None], points.base_n3 * np.float32(0.4), colour)
    part = np.where(lamp, _LAMP + number, points.part_n)
    return Paint(np.asarray(colour, np.float32), part.astype(np.int32))


def cloth(points: Points) -> Paint:
    """Plain, striped, checked or with a different lower part; folds."""
    u, v = points.surface()
    kind, size = points.style(0), np.maximum(points.style(1), 0.03)
    stripe = (np.where(kind == 2, v, u) / size) % 1 < 0.5
    marked = ((kind == 1) | (kind == 2)) & stripe & (points.footprint_n < size)
    colour = mix(points.base_n3, points.accent_n3, marked.astype(np.float32))
    return Paint(colour * (0.75 + 0.5 * clouds(u + points.salt_n * 5, v, 0.8))[:, None], points.part_n)


def head(points: Points) -> Paint:
    """Skin with hair at the back, eyes as a dark line in front."""
    x, y, z = (points.metric_n3 / points.half_n3).T
    eyes = (z > 0.4) & (np.abs(y + 0.1) < 0.1) & (np.abs(np.abs(x) - 0.4) < 0.22)
    hair = (z < -0.15) | (y < -0.62)
    colour = np.where(eyes[:, None], points.base_n3 * np.float32(0.3), points.base_n3)
    return Paint(np.asarray(np.where(hair[:, None], points.accent_n3, colour), np.float32), points.part_n)


def car_body(points: Points) -> Paint:
    """Sides with doors and wheel arches, a front with head lamps and grille, a back with tail lamps."""
    half = points.half_n3
    x, y, z = points.metric_n3.T
    v = half[:, 1] - y
    side = (points.face_n == RIGHT) | (points.face_n == LEFT)
    axle, radius = points.style(0), points.style(1)
    arch = side & ((np.abs(z) - axle) ** 2 + (v + np.float32(0.22) - radius) ** 2 < (radius * np.float32(1.22)) ** 2)
    seam = side & (v > 0.08) & (np.abs(np.abs(z + 0.25) - 0.55) < 0.012 + points.footprint_n * 0.2)
    handle = side & (np.abs(np.abs(z + 0.02) - 0.62) < 0.09) & (np.abs(v - half[:, 1] * 1.55) < 0.025)
    trim = v < 0.1
    front, back = points.face_n == BACK, points.face_n == FRONT  # a car looks along +z, which is BACK of a box
    high = (v > half[:, 1] * 1.05) & (v < half[:, 1] * 1.65)
    lamp = (front | back) & high & (np.abs(x) > half[:, 0] * 0.58) & (np.abs(x) < half[:, 0] * 0.95)
    grille = front & (np.abs(x) < half[:, 0] * 0.5) & (v > half[:, 1] * 0.5) & (v < half[:, 1] * 1.4)
    plate = (front | back) & (np.abs(x) < 0.26) & (np.abs(v - half[:, 1] * 0.62) < 0.07)
    dark = arch | trim | (grille & ((v / 0.07) % 1 < 0.6)) | seam | handle
    colour = points.base_n3 * np.where(dark, 0.22, 1.0)[:, None].astype(np.float32)
    glow = np.where(front[:, None], np.float32(0.92), np.array([0.75, 0.08, 0.08], np.float32))
    colour = np.where(lamp[:, None], glow, np.where(plate[:, None], np.float32(0.85), colour))
    part = np.where(lamp, _CAR_LAMP + 2 * front + (x > 0), np.where(plate, _LICENCE + front, points.part_n))
    return Paint(np.asarray(colour, np.float32), part.astype(np.int32))


def car_cabin(points: Points) -> Paint:
    """Windows all round with pillars between them, and the roof."""
    half = points.half_n3
    x, y, z = points.metric_n3.T
    share = (y / half[:, 1] + 1) / 2
    side = points.sideways_n
    taper = points.primitives.taper_N2[points.shape_n]
    reach_z = half[:, 2] * (1 - taper[:, 1] * (1 - share))
    reach_x = half[:, 0] * (1 - taper[:, 0] * (1 - share))
    edge = np.where(side, reach_z - np.abs(z), reach_x - np.abs(x))
    pillar = side & (np.abs(z) < 0.05)
    glass = (points.face_n != TOP) & (share > 0.1) & (share < 0.94) & (edge > 0.09) & ~pillar
    sky = 0.5 + 1.3 * (1 - share) * shuffle(points.salt_n, 3.7) + 0.3 * clouds(x + z, y, 5.0)
    colour = np.where(glass[:, None], points.accent_n3 * sky[:, None], points.base_n3)
    code = _WINDOW + points.face_n.astype(np.int32) * 2 + (z > 0) * side
    return Paint(np.asarray(colour, np.float32), np.where(glass, code, points.part_n).astype(np.int32))


def wheel(points: Points) -> Paint:
    """A dark tyre, a bright rim with spokes."""
    x, _, z = (points.metric_n3 / points.half_n3).T
    away = np.sqrt(x * x + z * z)
    spoke = np.cos(np.arctan2(x, z) * np.floor(4 + 4 * points.salt_n)) > 0.1
    rim = (points.face_n != SIDE) & (away < 0.66) & (spoke | (away < 0.25) | (away > 0.56))
    return Paint(np.where(rim[:, None], points.accent_n3, points.base_n3), points.part_n)
