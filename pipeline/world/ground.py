"""The ground: where rays meet it, and which kind of ground is there.

Roads lie at y = 0; everything else is raised by the kerb, whose upright face belongs to the sidewalk.
Legend: n points, P rays.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pipeline.world.scene import GROUND_INSTANCES, LOT_CELL, LOT_EXTENT, Bool, Byte, Float, Ground, Int, Label

CORNER_RADIUS = 2.5
"""Roundness of the kerb at crossings, metres."""


class Zone(IntEnum):
    """Kinds of ground."""

    ROAD = 0
    SIDEWALK = 1
    VERGE = 2
    LOT = 3


_SIDEWALK_ID, _VERGE_ID, _LOT_ID = 2, 14, 26
"""Instance offsets: 0 sky, 1 road, then a sidewalk and a verge per block, then the lots."""


@dataclass(frozen=True)
class GroundHits:
    """Where rays that look down meet the ground."""

    depth_P: Float
    """Metres, inf for rays that do not."""
    road_P: Bool
    """Whether they reach the level of the road."""
    kerb_face_P: Bool
    """Whether they meet the upright face of the kerb."""


def _smooth_min(a: Float, b: Float, radius: float) -> Float:
    blend = np.maximum(radius - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - blend * blend / (4 * radius), np.float32)


def kerb_distance(ground: Ground, x: Float, z: Float) -> Float:
    """Signed distance from the kerb in metres: negative on the road."""
    distance = np.abs(x) - np.float32(ground.half_width)
    for cross in ground.crosses:
        arm = np.abs(z - np.float32(cross.at)) - np.float32(cross.half_width)
        if cross.side:
            arm = np.maximum(arm, -cross.side * x)
        distance = _smooth_min(distance, arm, CORNER_RADIUS)
    return distance


def meet_ground(ground: Ground, origin_3: Float, direction_P3: Float) -> GroundHits:
    """First try the raised level, then the road, between them the face of the kerb."""
    dx, dy, dz = direction_P3.T
    down = np.flatnonzero(dy > 1e-4)
    depth = np.full(len(dy), np.inf, np.float32)
    road, face = np.zeros(len(dy), np.bool_), np.zeros(len(dy), np.bool_)
    upper = (np.float32(-ground.kerb) - origin_3[1]) / dy[down]
    above_road = kerb_distance(ground, origin_3[0] + upper * dx[down], origin_3[2] + upper * dz[down])
    depth[down] = upper
    down, gap = down[above_road < 0], above_road[above_road < 0]
    lower = -origin_3[1] / dy[down]
    below = kerb_distance(ground, origin_3[0] + lower * dx[down], origin_3[2] + lower * dz[down])
    share = np.clip(gap / np.minimum(gap - below, -1e-6), 0, 1)
    depth[down] = np.where(below < 0, lower, depth[down] + share * (lower - depth[down]))
    road[down], face[down] = below < 0, below >= 0
    return GroundHits(depth, road, face)


def block_of(ground: Ground, x: Float, z: Float) -> Int:
    """Number of the block: side of the main street, and how many cross streets lie before it."""
    block = np.zeros(len(x), np.int32)
    for cross in ground.crosses:
        reaches = (cross.side == 0) | (np.sign(x) == cross.side)
        block += ((z > cross.at) & reaches).astype(np.int32)
    return np.asarray(2 * block + (x > 0), np.int32)


def zone_of(ground: Ground, x: Float, z: Float, road: Bool) -> tuple[Byte, Byte, Float]:
    """(zone, lot number, distance from the kerb) of points on the ground."""
    distance = kerb_distance(ground, x, z)
    side = (x > 0).astype(np.intp)
    walk, verge = np.array(ground.sidewalks, np.float32)[side], np.array(ground.verges, np.float32)[side]
    size = len(ground.lot_map_ZX)
    i = ((z + LOT_EXTENT) / np.float32(LOT_CELL)).astype(np.int32)
    j = ((x + LOT_EXTENT) / np.float32(LOT_CELL)).astype(np.int32)
    inside = (i >= 0) & (j >= 0) & (i < size) & (j < size)
    lot = np.where(inside, ground.lot_map_ZX[np.clip(i, 0, size - 1), np.clip(j, 0, size - 1)], np.uint8(0))
    lot = np.where(distance > 0.3, lot, np.uint8(0))
    far = (distance > walk) & (lot == 0)
    open_ = np.all(
        [np.abs(z - c.at) > c.half_width + 4.5 for c in ground.crosses] or [np.ones(len(x), np.bool_)], axis=0
    )
    open_ &= np.all([np.abs(z - at) > 2.3 for at in ground.zebras] or [np.ones(len(x), np.bool_)], axis=0)
    green = (distance > 0.2) & (distance < 0.2 + verge) & open_
    zone = np.where(road, Zone.ROAD, np.where(lot > 0, Zone.LOT, np.where(green | far, Zone.VERGE, Zone.SIDEWALK)))
    return zone.astype(np.uint8), lot, distance


def label_ground(ground: Ground, x: Float, z: Float, zone: Byte, lot: Byte) -> tuple[Byte, Int]:
    """(labels, instances) of points on the ground."""
    lot_labels = np.array([Label.TERRAIN, *(label for label, _ in ground.lots)], np.uint8)
    by_zone = np.array([Label.ROAD, Label.SIDEWALK, Label.TERRAIN, 0], np.uint8)
    labels = np.where(zone == Zone.LOT, lot_labels[lot], by_zone[zone])
    block = block_of(ground, x, z)
    offsets = np.array([1, _SIDEWALK_ID, _VERGE_ID, _LOT_ID], np.int32)[zone]
    offsets += np.where(zone == Zone.LOT, lot, np.where(zone == Zone.ROAD, 0, block)).astype(np.int32)
    return labels, np.asarray(ground.first_instance + np.minimum(offsets, GROUND_INSTANCES - 1), np.int32)
