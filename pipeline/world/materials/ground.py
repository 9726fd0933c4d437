"""The ground's paint: asphalt and its markings, paving, grass and earth.

Legend: n points; x, z world metres.
"""

from __future__ import annotations

import numpy as np

from pipeline.world.ground import Zone
from pipeline.world.scene import Bool, Byte, Float, Ground, Int, Surface
from pipeline.world.textures import blobs, bricks, cell_hash, clouds, grain, mix, tiles, visible

_PLAIN, _LINE, _EDGE, _STOP, _MANHOLE, _KERB, _ZEBRA = 1, 2, 3, 4, 5, 6, 16


def _rgb(colour: tuple[float, float, float]) -> Float:
    return np.asarray(colour, np.float32)


def _paved(surface: Surface, x: Float, z: Float, footprint: Float) -> Float:
    """Slabs, bricks or small setts."""
    if surface.pattern == 0:
        tone, joint, size = *tiles(x, z, 0.5, 0.03), 0.5
    elif surface.pattern == 1:
        tone, joint, size = *bricks(x, z, 0.24, 0.12, 0.015), 0.14
    else:
        tone, joint, size = *tiles(x + z * 0.2, z - x * 0.2, 0.95, 0.035), 0.9
    seen = visible(footprint, size)
    colour = _rgb(surface.base) * (1 + (tone - 0.5) * 0.3 * seen)[:, None]
    return mix(colour, _rgb(surface.accent) * np.float32(0.6), joint * (0.1 + 0.6 * seen))


def _planted(surface: Surface, x: Float, z: Float, footprint: Float) -> Float:
    """Grass, earth with stones, or both in patches."""
    blade = grain(x, z * np.float32(0.4), 0.02) * 0.5 + 0.5 * blobs(x, z, 0.09)
    stone = blobs(x, z, 0.16)
    rough = np.where(np.float32(surface.pattern) == 1, stone, blade)
    near = visible(footprint, 0.12)
    middle = blobs(x, z, 0.5)
    tone = 1 + (rough - 0.5) * 0.7 * near + (middle - 0.5) * 0.35
    bare = np.clip((clouds(x, z, 13.0) - (0.62 if surface.pattern == 0 else 0.45)) * 8, 0, 1)
    colour = mix(np.broadcast_to(_rgb(surface.base), (len(x), 3)), _rgb(surface.accent), bare * 0.8)
    return np.asarray(colour * tone[:, None], np.float32)


def _asphalt(surface: Surface, x: Float, z: Float, footprint: Float) -> Float:
    """Asphalt with patches, cracks and wheel tracks; slabs of concrete; cobbles."""
    if surface.pattern == 2:
        tone, joint = bricks(x, z, 0.2, 0.14, 0.02)
        seen = visible(footprint, 0.16)
        colour = _rgb(surface.base) * (1 + (tone - 0.5) * 0.5 * seen)[:, None]
        return mix(colour, _rgb(surface.base) * np.float32(0.45), joint * (0.15 + 0.7 * seen))
    speck = 1 + (grain(x, z, 0.025) - 0.5) * 0.2 * visible(footprint, 0.05)
    patch = cell_hash(np.floor(x / 1.7 + 0.3), np.floor(z / 2.9)) > 0.9
    stain = np.clip(clouds(x, z, 6.0) * 5 - 3.9, 0, 1)
    tone = speck * (0.88 + 0.24 * clouds(x, z, 17.0)) * (1 - 0.1 * patch) * (1 - 0.25 * stain)
    if surface.pattern == 1:
        tone *= 1 - 0.4 * ((z / 4) % 1 < 0.012) - 0.4 * ((x / 3.5) % 1 < 0.014)
    return np.asarray(_rgb(surface.base) * tone[:, None], np.float32)


def _markings(ground: Ground, x: Float, z: Float) -> Int:
    """Part code of the road: plain, or the marking that is painted there."""
    code = np.full(len(x), _PLAIN, np.int32)
    w = ground.half_width
    clear = np.ones(len(x), np.bool_)
    for cross in ground.crosses:
        along = np.abs(z - cross.at)
        clear &= along > cross.half_width + 1.0
        side = np.abs(x) > w + 1.5
        code[side & (along < 0.07) & ((x / 4) % 1 < 0.5)] = _LINE
    for at in ground.zebras:
        clear &= np.abs(z - at) > 3.6
    on_main = clear & (np.abs(x) < w)
    code[on_main & (np.abs(x) < 0.08) & ((z / 6) % 1 < 0.5)] = _LINE
    if w > 4.6:
        code[on_main & (np.abs(np.abs(x) - (w - 2.15)) < 0.06)] = _EDGE
    for number, at in enumerate(ground.zebras):
        on_zebra = (np.abs(z - at) < 1.6) & (np.abs(x) < w - 0.1)
        stripe = ((x + w) / 1.0) % 1 < 0.5
        code[on_zebra & stripe] = _ZEBRA + number
        code[(np.abs(np.abs(z - at) - 3.0) < 0.16) & (np.abs(x) < w - 0.2) & (x * (z - at) < 0)] = _STOP
    i, j = np.floor(x / 3.1), np.floor(z / 9.0)
    cover = (cell_hash(i, j) > 0.75) & ((x / 3.1 - i - 0.5) ** 2 * 9.6 + (z / 9.0 - j - 0.5) ** 2 * 81 < 0.1)
    code[cover & (code == _PLAIN)] = _MANHOLE
    return code


def _road(ground: Ground, x: Float, z: Float, footprint: Float) -> tuple[Float, Int]:
    colour = _asphalt(ground.road, x, z, footprint)
    code = _markings(ground, x, z)
    white = (code == _LINE) | (code == _EDGE) | (code == _STOP) | (code >= _ZEBRA)
    worn = np.clip(1.25 - 0.8 * clouds(x * 2, z * 2, 5.0) * (1 + 0.3 * blobs(x, z, 0.1)), 0.25, 1)
    colour = mix(colour, np.float32(0.35) + np.float32(0.65) * _rgb(ground.road.accent), white * worn)
    return colour * np.where(code == _MANHOLE, 0.5 + 0.3 * blobs(x, z, 0.08), 1)[:, None].astype(np.float32), code


def _sidewalk(ground: Ground, x: Float, z: Float, distance: Float, footprint: Float) -> tuple[Float, Int]:
    """Paving, and kerb stones along the road."""
    colour = _paved(ground.sidewalk, x, z, footprint)
    stain = (0.9 + 0.2 * clouds(x, z, 9.0)) * (1 + (grain(x, z, 0.03) - 0.5) * 0.16 * visible(footprint, 0.06))
    colour = colour * stain[:, None].astype(np.float32)
    kerb = distance < 0.18
    stone = np.asarray(0.3 + 0.7 * _rgb(ground.sidewalk.base), np.float32)
    joint = ((x + z) % 1 < 0.02) & (footprint < 0.03)
    colour = np.where(kerb[:, None], stone * np.where(joint, 0.6, 1.0)[:, None], colour)
    return np.asarray(colour, np.float32), np.where(kerb, _KERB, _PLAIN).astype(np.int32)


def paint_ground(
    ground: Ground, x: Float, z: Float, zone: Byte, lot: Byte, distance: Float, footprint: Float
) -> tuple[Float, Int]:
    """(colour_n3, part_n) of points on the ground."""
    colour, part = np.empty((len(x), 3), np.float32), np.ones(len(x), np.int32)

    def rows_where(mask: Bool) -> tuple[Int, Float, Float, Float]:
        rows = np.flatnonzero(mask).astype(np.int32)
        return rows, x[rows], z[rows], footprint[rows]

    rows, a, b, size = rows_where(zone == Zone.ROAD)
    colour[rows], part[rows] = _road(ground, a, b, size)
    rows, a, b, size = rows_where(zone == Zone.SIDEWALK)
    colour[rows], part[rows] = _sidewalk(ground, a, b, distance[rows], size)
    rows, a, b, size = rows_where(zone == Zone.VERGE)
    colour[rows] = _planted(ground.verge, a, b, size)
    for number in np.unique(lot[zone == Zone.LOT]):
        label, surface = ground.lots[int(number) - 1]
        rows, a, b, size = rows_where((zone == Zone.LOT) & (lot == number))
        colour[rows] = (_planted if label == 9 else _paved)(surface, a, b, size)
    return colour, part
