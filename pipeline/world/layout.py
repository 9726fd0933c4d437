"""From a seed to a street scene: streets first, then lots along them, then what stands on road and sidewalk.

The main street runs along z with its middle at x = 0; side -1 is x < 0, side +1 is x > 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.world.builder import Builder, Frame
from pipeline.world.lots import Plot, fill_block, fill_cross_block
from pipeline.world.objects.buildings import add_building
from pipeline.world.objects.plants import add_tree
from pipeline.world.palette import colour, grey, leaf
from pipeline.world.plan import Plan
from pipeline.world.scene import LOT_CELL, LOT_EXTENT, CrossStreet, Ground, Label, Scene, Surface
from pipeline.world.streetlife import add_cars, add_furniture, add_people, add_street_trees
from pipeline.world.weather import make_light

REACH = 62.0
"""Lots and objects reach this far along the main street, metres."""


def build_scene(seed: int) -> Scene:
    """The scene of a seed; the same in every process."""
    rng = np.random.default_rng(seed)
    builder = Builder(rng)
    plan = _plan_streets(rng)
    eye, heading = _place_eye(rng, plan)
    plan.reserve(eye[0], eye[2], 1.7)
    lots = _Lots()
    _fill_blocks(builder, plan, lots)
    add_furniture(builder, plan)
    add_cars(builder, plan)
    add_street_trees(builder, plan)
    add_people(builder, plan, eye)
    return Scene(seed, eye, heading, builder.primitives(), _ground(rng, plan, lots), make_light(rng))


@dataclass
class _Lots:
    """The lot map under construction."""

    map_ZX: np.ndarray = field(default_factory=lambda: np.zeros((round(2 * LOT_EXTENT / LOT_CELL),) * 2, np.uint8))
    kinds: list[tuple[int, Surface]] = field(default_factory=list)

    def add(self, low: tuple[float, float], high: tuple[float, float], label: int, surface: Surface) -> None:
        """Gives the rectangle low .. high of the (x, z) plane to a new lot."""
        if len(self.kinds) == 255:
            return
        self.kinds.append((label, surface))
        x0, z0, x1, z1 = (round((v + LOT_EXTENT) / LOT_CELL) for v in (*low, *high))
        size = len(self.map_ZX)
        self.map_ZX[max(z0, 0) : min(max(z1, 0), size), max(x0, 0) : min(max(x1, 0), size)] = len(self.kinds)


def _plan_streets(rng: np.random.Generator) -> Plan:
    """Widths, crossings and zebra crossings."""
    half_width = float(rng.uniform(2.9, 5.2))
    crosses: list[CrossStreet] = []
    if rng.random() < 0.75:
        at = float(rng.choice((-1, 1)) * rng.uniform(9, 26))
        crosses.append(CrossStreet(at, float(rng.uniform(2.8, 4.5)), int(rng.choice((0, 0, -1, 1)))))
        if rng.random() < 0.4:
            crosses.append(CrossStreet(-np.sign(at) * float(rng.uniform(24, 48)), 3.2, int(rng.choice((0, -1, 1)))))
    sidewalks = (float(rng.uniform(2.3, 4.8)), float(rng.uniform(2.3, 4.8)))
    verges = tuple(float(rng.uniform(0.9, 1.8)) if rng.random() < 0.65 and s > 2.7 else 0.0 for s in sidewalks)
    zebras = [c.at + side * (c.half_width + 3.0) for c in crosses for side in (-1, 1)]
    if rng.random() < 0.75 or not crosses:
        zebras.append(float(rng.choice((-1, 1)) * rng.uniform(4.5, 8.5)))
    return Plan(
        half_width, tuple(crosses), sidewalks, (verges[0], verges[1]), tuple(zebras), float(rng.uniform(0.08, 0.16))
    )


def _place_eye(rng: np.random.Generator, plan: Plan) -> tuple[tuple[float, float, float], float]:
    """On the road more often than on a sidewalk; any heading."""
    height = float(rng.uniform(1.5, 2.6))
    if rng.random() < 0.55:
        x, ground = float(rng.uniform(-0.6, 0.6)) * plan.half_width, 0.0
    else:
        side = int(rng.integers(2))
        x = (2 * side - 1) * (plan.half_width + plan.sidewalks[side] * float(rng.uniform(0.35, 0.75)))
        ground = plan.kerb
    return (x, -height - ground, 0.0), float(rng.uniform(-180, 180))


def _fill_blocks(builder: Builder, plan: Plan, lots: _Lots) -> None:
    """Lots along the main street, then along the cross streets behind them."""
    plots: list[Plot] = []
    for side in (-1, 1):
        edges = [-REACH, *plan.block_edges(side), REACH]
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            plots += fill_block(builder, plan, side, (start, stop)) if stop - start > 4 else []
    for cross in plan.crosses:
        for side in (-1, 1) if cross.side == 0 else (cross.side,):
            plots += fill_cross_block(builder, plan, cross, side)
    for plot in plots:
        lots.add(plot.low, plot.high, *_lot_surface(builder.rng, plot.paved))
    _close_ends(builder)


def _close_ends(builder: Builder) -> None:
    """Something stands where the main street ends: a far building or trees."""
    rng = builder.rng
    for end, yaw in ((1, 0.0), (-1, 180.0)):
        z = end * float(rng.uniform(75, 105))
        if rng.random() < 0.6:
            add_building(builder, Frame.on_ground(0, z, yaw), float(rng.uniform(14, 40)), 10, float(rng.uniform(6, 20)))
        for _ in range(4):
            place = Frame.on_ground(float(rng.normal(0, 9)), z - end * 4)
            add_tree(builder, place, float(rng.uniform(6, 12)))


def _lot_surface(rng: np.random.Generator, paved: bool) -> tuple[int, Surface]:
    """Grass, earth or gravel, or the paving of a square."""
    if paved:
        return Label.SIDEWALK, Surface(int(rng.integers(3)), grey(rng), grey(rng))
    return Label.TERRAIN, _terrain(rng)


def _terrain(rng: np.random.Generator) -> Surface:
    base = leaf(rng) if rng.random() < 0.7 else colour(rng, 0.5, 0.25, 0.7)
    return Surface(int(rng.integers(3)), base, colour(rng, 0.5, 0.2, 0.75))


def _ground(rng: np.random.Generator, plan: Plan, lots: _Lots) -> Ground:
    road = Surface(int(rng.choice((0, 0, 0, 1, 2))), grey(rng, 0.2, 0.6), grey(rng, 0.5, 0.95))
    sidewalk = Surface(int(rng.integers(3)), grey(rng, 0.3, 0.85), grey(rng, 0.2, 0.7))
    return Ground(
        half_width=plan.half_width,
        crosses=plan.crosses,
        sidewalks=plan.sidewalks,
        verges=plan.verges,
        zebras=plan.zebras,
        kerb=plan.kerb,
        lot_map_ZX=lots.map_ZX,
        lots=tuple(lots.kinds),
        road=road,
        sidewalk=sidewalk,
        verge=_terrain(rng),
        first_instance=1,
    )
