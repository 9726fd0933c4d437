"""Stone, plaster, roof tiles, planks, bark, plain and metal surfaces."""

from __future__ import annotations

import numpy as np

from pipeline.world.cutouts import leaf_noise
from pipeline.world.materials.base import Paint, Points
from pipeline.world.scene import Float, Kind
from pipeline.world.textures import blobs, bricks, clouds, grain, mix, visible


def weathered(colour_n3: Float, u: Float, v: Float, strength: float = 0.25) -> Float:
    """Stains of all sizes."""
    return np.asarray(colour_n3 * (1 - strength + 2 * strength * clouds(u, v, 9.0))[:, None], np.float32)


def brickwork(points: Points, u: Float, v: Float, size: tuple[float, float]) -> Float:
    """Bricks of slightly different tones with mortar, fading to their mean far away."""
    tone, mortar = bricks(u, v, size[0], size[1], 0.018 + 0.05 * size[1])
    seen = visible(points.footprint_n, size[1])
    colour = points.base_n3 * (1 + (tone - 0.5) * 0.55 * seen)[:, None]
    return mix(colour, points.accent_n3, mortar * (0.12 + 0.6 * seen))


def _rubble(points: Points, u: Float, v: Float) -> Float:
    tone = blobs(u, v, 0.28)
    seen = visible(points.footprint_n, 0.25)
    colour = points.base_n3 * (0.75 + 0.5 * tone * seen + 0.25 * (1 - seen))[:, None]
    return mix(colour, points.accent_n3, ((np.abs(tone - 0.5) < 0.06) * seen * 0.8).astype(np.float32))


def _concrete(points: Points, u: Float, v: Float) -> Float:
    gap = (u / 2.4) % 1 < 0.02
    holes = (((u / 0.8) % 1 - 0.5) ** 2 + ((v / 0.8) % 1 - 0.5) ** 2) < 0.003
    return np.asarray(points.base_n3 * (1 - 0.45 * (gap | holes))[:, None], np.float32)


def masonry(points: Points) -> Paint:
    """Free-standing walls; style 0 chooses bricks, rubble, plaster or concrete, style 1 the size of a brick."""
    u, v = points.surface()
    kind = points.style(0)
    colour = np.array(points.base_n3, np.float32)
    shift = points.salt_n * 37
    for number, painter in ((1, _rubble), (3, _concrete)):
        rows = np.flatnonzero(kind == number)
        colour[rows] = painter(pick(points, rows), u[rows] + shift[rows], v[rows])
    rows = np.flatnonzero(kind == 0)
    size = points.style(1)[rows]
    colour[rows] = brickwork(pick(points, rows), u[rows] * (0.3 / size), v[rows] * (0.3 / size), (0.3, 0.11))
    rows = np.flatnonzero(kind == 2)
    damp = np.clip(1 - v[rows] / 0.5 + 0.6 * clouds(u[rows], v[rows], 5.0), 0, 1)
    colour[rows] = mix(colour[rows], points.accent_n3[rows] * np.float32(0.6), damp * 0.6)
    return Paint(weathered(colour, u + shift, v + 0.7 * shift, 0.3), points.part_n)


def pick(points: Points, rows: np.ndarray) -> Points:
    """Some of the points."""
    return Points(
        points.primitives, points.shape_n[rows], points.face_n[rows], points.metric_n3[rows], points.footprint_n[rows]
    )


def roof(points: Points) -> Paint:
    """Rows of tiles, standing seams or slate."""
    u, v = points.surface()
    kind = points.style(0)
    seen = visible(points.footprint_n, 0.3)
    row = (v / 0.28) % 1
    wave = (u / 0.24 + 0.5 * (np.floor(v / 0.28) % 2)) % 1
    tiles = 0.72 + 0.28 * row - 0.25 * (wave < 0.14)
    seams = 1 - 0.35 * ((u / 0.6) % 1 < 0.08)
    tone = np.where(kind == 1, seams, tiles)
    gable = points.primitives.taper_N2[points.shape_n, 0] < 0.1
    wall = gable & points.sideways_n
    tone = np.where(wall, 1.0, 1 + (tone - 1) * seen)
    colour = np.where(wall[:, None], points.accent_n3, points.base_n3) * tone[:, None]
    return Paint(weathered(np.asarray(colour, np.float32), u, v), points.part_n)


def planks(points: Points) -> Paint:
    """Painted wood: grain along the slats, worn paint."""
    u, v = points.surface()
    streak = grain(u, v * np.float32(0.08), 0.02) - np.float32(0.5)
    tone = 1 + 0.3 * streak * visible(points.footprint_n, 0.06) - 0.15 * (v < 0.25)
    return Paint(weathered(points.base_n3 * tone[:, None], u, v, 0.15), points.part_n)


def bark(points: Points) -> Paint:
    """Furrows along the trunk."""
    u, v = points.surface()
    tone = 0.6 + 0.75 * blobs(u * np.float32(3.5), v * np.float32(0.7) + points.salt_n * 11, 0.12)
    return Paint(np.asarray(points.base_n3 * tone[:, None], np.float32), points.part_n)


def metal(points: Points) -> Paint:
    """Painted poles; some with bands."""
    u, v = points.surface()
    bands = (points.style(0) > 0) & ((v / 0.5) % 1 < 0.5)
    colour = np.where(bands[:, None], points.accent_n3, points.base_n3)
    return Paint(np.asarray(colour * (0.85 + 0.25 * clouds(u, v, 3.0))[:, None], np.float32), points.part_n)


def plain(points: Points) -> Paint:
    """One colour, a little worn."""
    u, v = points.surface()
    return Paint(weathered(points.base_n3, u, v, 0.12), points.part_n)


def foliage(points: Points) -> Paint:
    """Clusters of bright leaves over dark depths."""
    boxy = (points.primitives.kind_N[points.shape_n] == Kind.BOX)[:, None]
    half = points.half_n3
    normal = np.where(boxy, (points.metric_n3 / half) ** 9, points.metric_n3 / (half * half))
    coarse = leaf_noise(points.metric_n3, normal, points.salt_n, 0.3)
    fine = leaf_noise(points.metric_n3, normal, points.salt_n, 0.14)
    seen = visible(points.footprint_n, 0.35)
    tone = 0.8 + (0.75 * coarse + 0.55 * fine - 0.65) * (0.35 + 0.65 * seen)
    inside = points.face_n == 1
    colour = mix(points.base_n3, points.accent_n3, np.clip(coarse * 1.6 - 0.6, 0, 1))
    return Paint(colour * np.where(inside, 0.45 * tone, tone).astype(np.float32)[:, None], points.part_n)
