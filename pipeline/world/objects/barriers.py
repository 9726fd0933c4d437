"""Walls and fences along the frame's x."""

from __future__ import annotations

import numpy as np

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import grey, paint, shade
from pipeline.world.scene import Colour, Cutout, Kind, Label, Material

BODY, COPING, PIER = 1, 2, 3


def add_wall(builder: Builder, frame: Frame, length: float, height: float) -> None:
    """A free-standing wall: brick, rubble, plaster or concrete, with a coping and sometimes piers."""
    rng = builder.rng
    owner = (Label.WALL, builder.instance())
    base = grey(rng, 0.2, 0.85)
    look = Look(Material.MASONRY, base, grey(rng, 0.3, 0.8), (float(rng.integers(4)), rng.uniform(0.18, 0.6), 0, 0))
    cap = Look(Material.PLAIN, shade(base, float(rng.uniform(0.6, 1.4))))
    builder.add(Kind.BOX, frame.moved((0, -height / 2, 0)), (length / 2, height / 2, 0.15), look, owner, BODY)
    builder.add(Kind.BOX, frame.moved((0, -height - 0.05, 0)), (length / 2 + 0.05, 0.05, 0.21), cap, owner, COPING)
    if rng.random() < 0.6:
        count = max(2, int(length / 3.5) + 1)
        for i in range(count):
            pier = frame.moved((-length / 2 + length * i / (count - 1), -height / 2 - 0.12, 0))
            builder.add(Kind.BOX, pier, (0.24, height / 2 + 0.12, 0.24), look, owner, PIER)


def _rails(rng: np.random.Generator) -> tuple[Cutout, tuple[float, float, float, float], Colour]:
    kind = int(rng.integers(4))
    if kind < 2:
        period = float(rng.uniform(0.12, 0.24))
        return Cutout.PICKETS, (period, float(rng.uniform(0.4, 0.72)), float(rng.uniform(0, 0.12)), 0), paint(rng)
    if kind == 2:
        return Cutout.RAILS, (1.9, float(rng.uniform(0.25, 0.4)), 0.09, 0), paint(rng)
    return Cutout.RAILS, (2.2, 0.16, 0.03, 0.16), grey(rng, 0.1, 0.8)


def add_fence(builder: Builder, frame: Frame, length: float, height: float) -> None:
    """Pickets, level bars or a mesh, between posts; one sees through the gaps."""
    owner = (Label.FENCE, builder.instance())
    cutout, style, base = _rails(builder.rng)
    look = Look(Material.PLANKS, base, shade(base, 0.7), style)
    half = (length / 2, height / 2, 0.02)
    builder.add(Kind.CARD, frame.moved((0, -height / 2 - 0.04, 0)), half, look, owner, BODY, cutout=cutout)
    post = Look(Material.PLAIN, shade(base, 0.85))
    count = max(2, int(length / 2.4) + 1)
    for i in range(count):
        place = frame.moved((-length / 2 + length * i / (count - 1), -height / 2 - 0.04, 0.05))
        builder.add(Kind.BOX, place, (0.05, height / 2 + 0.06, 0.05), post, owner, PIER)
