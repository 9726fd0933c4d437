"""Facades: storeys of windows, a ground floor with doors or shop windows, four kinds of wall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.world.materials.base import Paint, Points
from pipeline.world.materials.masonry import brickwork, pick, weathered
from pipeline.world.scene import Bool, Float, Int
from pipeline.world.textures import cell_hash, clouds, mix, shuffle

_WINDOWS_FROM, _DOORS_FROM = 64, 16
_COLUMNS, _STOREYS = 60, 16


@dataclass(frozen=True)
class _Grid:
    """Where a point lies in the grid of windows: u, v in 0..1 inside its cell."""

    column: Float
    storey: Float
    u: Float
    v: Float
    width: Float
    height: Float
    random: Float


def _grid(points: Points, u: Float, v: Float) -> _Grid:
    half = points.half_n3
    width = np.where(points.sideways_n, half[:, 2], half[:, 0]) * 2
    height = half[:, 1] * 2
    storeys = np.maximum(np.round(height / points.style(0)), 1)
    columns = np.maximum(np.round(width / points.style(1)), 1)
    across, up = (u / width + np.float32(0.5)) * columns, v / height * storeys
    column, storey = np.clip(np.floor(across), 0, columns - 1), np.clip(np.floor(up), 0, storeys - 1)
    salt = points.salt_n + points.face_n * np.float32(0.137)
    random = cell_hash(column, storey, salt)
    return _Grid(column, storey, across - column, up - storey, width / columns, height / storeys, random)


def _wall(points: Points, u: Float, v: Float, grid: _Grid) -> Float:
    """Bricks, plaster, panels or clapboard, with stains and bands between storeys."""
    kind = points.style(2)
    colour = np.array(points.base_n3, np.float32)
    rows = np.flatnonzero(kind == 0)
    colour[rows] = brickwork(pick(points, rows), u[rows], v[rows], (0.25, 0.09))
    panel = (kind == 2) & ((grid.u < 0.02) | (grid.v < 0.02))
    board = (kind == 3) & ((v / 0.2) % 1 < 0.18)
    band = (kind == 1) & (grid.v < 0.05) & (shuffle(points.salt_n, 17.3) < 0.6)
    tone = 1 - 0.35 * panel - 0.18 * board + 0.15 * band
    stain = 1 - 0.35 * np.clip(1 - v / 1.2, 0, 1) * clouds(u, v, 4.0)
    return weathered(colour * (tone * stain)[:, None], u, v, 0.14)


def _glass(points: Points, u: Float, v: Float, grid: _Grid) -> Float:
    """Dark rooms, bright reflections, curtains: different from window to window."""
    sheen = 0.12 + 0.55 * shuffle(grid.random, 7.7) * (0.4 + 0.6 * grid.v) + 0.25 * clouds(u * 0.7, v, 6.0)
    tint = 0.75 + 0.25 * points.accent_n3
    curtain = (shuffle(grid.random, 31.1) < 0.35) & (np.abs(grid.u - 0.5) > 0.12 + 0.1 * shuffle(grid.random, 3.3))
    return np.asarray(np.where(curtain[:, None], 0.35 + 0.35 * points.accent_n3, sheen[:, None] * tint), np.float32)


def _openings(points: Points, grid: _Grid) -> tuple[Float, Float, Bool]:
    """(distance inside the opening's edge in metres: > 0 inside; lower edge in the cell; is it a door)."""
    salt = points.salt_n
    share = 0.24 + 0.16 * shuffle(salt, 13.7)
    sill, top = 0.26 + 0.1 * shuffle(salt, 5.9), 0.8 + 0.08 * shuffle(salt, 9.1)
    ground = grid.storey == 0
    shop = ground & (points.style(3) > 0)
    door = ground & ~points.sideways_n & (grid.random < 0.3)
    share, sill, top = np.where(shop, 0.45, share), np.where(shop, 0.14, sill), np.where(shop, 0.78, top)
    share = np.where(door, np.minimum(0.6 / grid.width, 0.4), share)
    sill, top = np.where(door, 0.0, sill), np.where(door, 0.72, top)
    inside_u = (share - np.abs(grid.u - 0.5)) * grid.width
    inside_v = np.minimum(grid.v - np.where(door, -1, sill), top - grid.v) * grid.height
    return np.asarray(np.minimum(inside_u, inside_v), np.float32), np.asarray(sill, np.float32), door


def _parts(points: Points, grid: _Grid, window: Bool, door: Bool) -> Int:
    face = np.where(points.face_n >= 4, points.face_n - 2, points.face_n).astype(np.int32) & 3
    cell = np.minimum(grid.column, _COLUMNS - 1) + _COLUMNS * np.minimum(grid.storey, _STOREYS - 1)
    window_code = _WINDOWS_FROM + face * (_COLUMNS * _STOREYS) + cell.astype(np.int32)
    door_code = _DOORS_FROM + (grid.column.astype(np.int32) + 11 * face) % 48
    return np.where(window & door, door_code, np.where(window, window_code, points.part_n)).astype(np.int32)


def facade(points: Points) -> Paint:
    """style: (storey height, window spacing, wall kind, has shops)."""
    u, v = points.surface()
    grid = _grid(points, u, v)
    inside, sill, door = _openings(points, grid)
    upright = ~points.level_n
    opening = (inside > 0) & upright
    colour = _wall(points, u, v, grid)
    below_sill = upright & ~door & (inside <= 0) & (inside > -0.14) & (grid.v < sill)
    colour = mix(colour, points.accent_n3, below_sill * np.float32(0.7))
    frame = opening & (inside < 0.09)
    bar = opening & ~door & (np.abs(grid.u - 0.5) * grid.width < 0.035)
    leaf = opening & door
    rows = np.flatnonzero(opening)
    colour[rows] = _glass(pick(points, rows), u[rows], v[rows], _at(grid, rows))
    wood = points.accent_n3 * (0.35 + 0.5 * shuffle(grid.random, 21.0))[:, None]
    colour = np.where((leaf & (inside > 0.15) & ~((grid.v > 0.5) & (inside > 0.3)))[:, None], wood, colour)
    colour = np.where((frame | bar)[:, None], points.accent_n3 * np.float32(0.9), colour)
    shaded = opening & (inside < 0.2) & (grid.v > 0.6)
    colour = np.asarray(colour * (1 - 0.5 * shaded)[:, None], np.float32)
    return Paint(colour, _parts(points, grid, opening, door))


def _at(grid: _Grid, rows: np.ndarray) -> _Grid:
    return _Grid(*(getattr(grid, name)[rows] for name in _Grid.__dataclass_fields__))
