"""What is left of a shape after cutting out: outlines of sign plates, gaps of fences, holes between leaves.

Legend: n points on shapes. x, y are in [-1, 1] on a card; half extents are metres.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.world.scene import Bool, Byte, Cutout, Float
from pipeline.world.textures import blobs


def keep_pickets(x: Float, y: Float, half_n3: Float, style_n4: Float) -> Bool:
    """Upright slats with pointed tops on two rails; style: (period, slat share, point height, -) in metres."""
    across = x * half_n3[:, 0] / style_n4[:, 0]
    offset = np.abs(across - np.floor(across) - np.float32(0.5)) * 2
    tip = half_n3[:, 1] * (y + 1)
    slat = (offset < style_n4[:, 1]) & (tip > style_n4[:, 2] * offset)
    rail = (np.abs(y - 0.6) < 0.07) | (np.abs(y + 0.5) < 0.07)
    return slat | rail


def keep_rails(x: Float, y: Float, half_n3: Float, style_n4: Float) -> Bool:
    """Posts, a top bar and level bars or a mesh; style: (post spacing, bar spacing, bar size, mesh spacing or 0)."""
    u, v = x * half_n3[:, 0], (y + 1) * half_n3[:, 1]
    size = style_n4[:, 2]
    post = (u / style_n4[:, 0]) % 1 * style_n4[:, 0] < 0.07
    bar = (v / style_n4[:, 1]) % 1 * style_n4[:, 1] < size
    spacing = np.maximum(style_n4[:, 3], np.float32(0.01))
    mesh = (style_n4[:, 3] > 0) & ((u / spacing) % 1 * spacing < size)
    return post | bar | mesh | (v < 0.07)


def keep_card(x: Float, y: Float, half_n3: Float, cutout_n: Byte, style_n4: Float) -> Bool:
    """Whether a point of a card is there."""
    kept = np.ones(len(x), np.bool_)
    outlines: dict[Cutout, Callable[[Float, Float], Bool]] = {
        Cutout.DISC: lambda a, b: a * a + b * b <= 1,
        Cutout.TRIANGLE: lambda a, b: np.abs(a) <= 0.5 * (b + 1) + 0.04,
        Cutout.OCTAGON: lambda a, b: np.abs(a) + np.abs(b) <= 1.41,
        Cutout.DIAMOND: lambda a, b: np.abs(a) + np.abs(b) <= 1,
    }
    for code, outline in outlines.items():
        rows = np.flatnonzero(cutout_n == code)
        kept[rows] = outline(x[rows], y[rows])
    for code, keep in ((Cutout.PICKETS, keep_pickets), (Cutout.RAILS, keep_rails)):
        rows = np.flatnonzero(cutout_n == code)
        kept[rows] = keep(x[rows], y[rows], half_n3[rows], style_n4[rows])
    return kept


def leaf_noise(point_n3: Float, normal_n3: Float, salt_n: Float, size: float) -> Float:
    """Clusters of leaves of about `size` metres; point_n3 in metres, noise seen along the normal's strongest axis."""
    shift = salt_n * np.float32(61)
    x, y, z = point_n3.T
    level, along, across = np.abs(normal_n3[:, 1]), np.abs(normal_n3[:, 0]), np.abs(normal_n3[:, 2])
    from_above = (level > along) & (level > across)
    from_side = ~from_above & (along > across)
    return blobs(np.where(from_side, z, x) + shift, np.where(from_above, z, y) + shift, size)


def keep_leaves(unit_n3: Float, half_n3: Float, salt_n: Float, facing_n: Float, density_n: Float) -> Bool:
    """Leaves leave holes, more of them where the surface turns away (facing 0), which makes a ragged outline.

    unit_n3 are points of the unit sphere, half_n3 the half extents of the ellipsoid in metres.
    """
    holes = np.clip(np.float32(1.2) - density_n - facing_n * np.float32(0.75), 0, 1) + (1 - density_n) * np.float32(
        0.45
    )
    point, normal = unit_n3 * half_n3, unit_n3 / half_n3
    leaves = 0.6 * leaf_noise(point, normal, salt_n, 0.45) + 0.4 * leaf_noise(point, normal, salt_n, 0.16)
    return np.asarray(leaves > 0.15 + 0.7 * holes, np.bool_)
