"""Lots along a street: houses at the street, houses behind gardens, open ground behind walls, fences or hedges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.world.builder import Builder, Frame
from pipeline.world.objects.barriers import add_fence, add_wall
from pipeline.world.objects.buildings import add_building
from pipeline.world.objects.cars import add_car
from pipeline.world.objects.plants import add_bush, add_hedge, add_tree
from pipeline.world.plan import Plan
from pipeline.world.scene import CrossStreet

Corner = tuple[float, float]
DEPTH = 16.0
"""How deep lots are, metres."""
_DECK = (("house", "fence"), ("garden", "fence"), ("house", "wall"), ("garden", "wall"))
_FAR_DECK = (
    ("house", "wall"),
    ("open", "fence"),
    ("garden", "hedge"),
    ("open", "wall"),
    ("square", "hedge"),
    ("parking", "wall"),
)


@dataclass(frozen=True)
class Lot:
    """A piece of a block front; `frame` stands in the middle of the front and looks into the lot (+z)."""

    frame: Frame
    width: float
    depth: float


@dataclass(frozen=True)
class Plot:
    """The ground of a lot: its lowest and highest corner in the (x, z) plane, metres."""

    low: Corner
    high: Corner
    paved: bool


def _rectangle(lot: Lot) -> tuple[Corner, Corner]:
    """The lot's corners (lowest, highest) in the (x, z) plane."""
    a, b = lot.frame.point((-lot.width / 2, 0, 0)), lot.frame.point((lot.width / 2, 0, lot.depth))
    return (min(a[0], b[0]), min(a[2], b[2])), (max(a[0], b[0]), max(a[2], b[2]))


def _cards(rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Kinds of lot and barrier, shuffled, but dealt so that a fence and a wall always come soon."""
    while True:
        for deck in (_DECK, _FAR_DECK):
            for index in rng.permutation(len(deck)):
                yield deck[int(index)]


def _widths(rng: np.random.Generator, length: float) -> list[float]:
    """Widths of the lots of a block."""
    widths: list[float] = []
    while length > 17:
        widths.append(float(rng.uniform(6.5, 12.5)))
        length -= widths[-1]
    return [*widths, length]


def fill_block(builder: Builder, plan: Plan, side: int, span: tuple[float, float]) -> list[Plot]:
    """Lots between z = span[0] and span[1] on one side of the main street; kinds are dealt from z = 0 outwards."""
    rng = builder.rng
    lots: list[Lot] = []
    z = span[0]
    for width in _widths(rng, span[1] - span[0]):
        frame = Frame.on_ground(side * plan.front(side), z + width / 2, yaw=90.0 * side, y=-plan.kerb)
        lots.append(Lot(frame, width, DEPTH))
        z += width
    lots.sort(key=lambda lot: abs(lot.frame.position[2]))
    return [_fill_lot(builder, lot, *card) for lot, card in zip(lots, _cards(rng), strict=False)]


def fill_cross_block(builder: Builder, plan: Plan, cross: CrossStreet, side: int) -> list[Plot]:
    """Lots on both sides of a cross street, beyond the corner lots of the main street."""
    rng = builder.rng
    plots: list[Plot] = []
    for bank in (-1, 1):
        x, cards = plan.front(side) + DEPTH, _cards(rng)
        z = cross.at + bank * (cross.half_width + plan.sidewalk(side))
        for _ in range(3):
            width = float(rng.uniform(8, 14))
            frame = Frame.on_ground(side * (x + width / 2), z, yaw=0.0 if bank > 0 else 180.0, y=-plan.kerb)
            plots.append(_fill_lot(builder, Lot(frame, width, DEPTH * 0.7), *next(cards)))
            x += width
    return plots


def _fill_lot(builder: Builder, lot: Lot, kind: str, barrier: str) -> Plot:
    """Builds on a lot; returns its ground."""
    if kind == "house":
        _house(builder, lot, 0.0)
    elif kind == "garden":
        setback = float(builder.rng.uniform(3.5, 7.5))
        _barrier(builder, lot, barrier)
        _garden(builder, lot, setback)
        _house(builder, lot, setback)
    else:
        if kind == "open":
            _barrier(builder, lot, barrier)
        if kind == "parking":
            _parked(builder, lot)
        else:
            _garden(builder, lot, lot.depth)
    return Plot(*_rectangle(lot), paved=kind in ("square", "parking") and builder.rng.random() < 0.7)


def _house(builder: Builder, lot: Lot, setback: float) -> None:
    rng = builder.rng
    narrow = 0.0 if setback == 0 and rng.random() < 0.7 else float(rng.uniform(0.5, 2.0))
    front = max(setback, 0.05 + float(rng.uniform(0, 0.6)))
    height = float(rng.choice((3.2, 6, 7, 9, 10, 12.5, 16))) * float(rng.uniform(0.9, 1.15))
    depth = float(rng.uniform(8, 12))
    add_building(builder, lot.frame.moved((0, 0, front)), lot.width - narrow, depth, height)


def _barrier(builder: Builder, lot: Lot, barrier: str) -> None:
    """What separates a lot from the sidewalk."""
    rng = builder.rng
    frame = lot.frame.moved((0, 0, 0.3))
    length = lot.width - 0.4
    if barrier == "wall":
        add_wall(builder, frame, length, float(rng.uniform(1.2, 2.8)))
    elif barrier == "fence":
        add_fence(builder, frame, length, float(rng.uniform(1.1, 2.0)))
    else:
        add_hedge(builder, frame.moved((0, 0, 0.3)), length, float(rng.uniform(0.8, 1.8)))


def _garden(builder: Builder, lot: Lot, depth: float) -> None:
    """Trees and bushes on the open part of a lot."""
    rng = builder.rng
    for _ in range(int(rng.integers(1, 3)) if depth < 10 else int(rng.integers(3, 6))):
        x, z = float(rng.uniform(-0.4, 0.4)) * lot.width, float(rng.uniform(0.45, 0.8)) * depth
        if rng.random() < 0.6:
            add_tree(builder, lot.frame.moved((x, 0, z)), float(rng.uniform(4, 9)))
        else:
            add_bush(builder, lot.frame.moved((x, 0, z)), float(rng.uniform(0.6, 1.2)))
    if depth > 10:
        add_wall(builder, lot.frame.moved((0, 0, depth - 0.5)), lot.width - 0.4, float(rng.uniform(1.5, 3.0)))


def _parked(builder: Builder, lot: Lot) -> None:
    """A row of cars side by side, with a tree behind."""
    rng = builder.rng
    for i in range(int((lot.width - 1.5) / 2.6)):
        if rng.random() < 0.8:
            turn = float(rng.choice((0, 180))) + float(rng.normal(0, 4))
            add_car(builder, lot.frame.moved((-lot.width / 2 + 2 + 2.6 * i, 0, 3.6), yaw=turn))
    add_tree(builder, lot.frame.moved((float(rng.uniform(-0.3, 0.3)) * lot.width, 0, 9)), float(rng.uniform(5, 9)))
