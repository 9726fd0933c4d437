"""Scenes of which everything is known: a straight street in plain light, and the shapes that a test puts there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.world.builder import Builder, Frame, Look, Vector
from pipeline.world.scene import LOT_CELL, LOT_EXTENT, Ground, Kind, Label, Light, Material, Scene, Surface

GREY = Surface(0, (0.5, 0.5, 0.5), (0.4, 0.4, 0.4))
GROUND = Ground(
    half_width=4.0, crosses=(), sidewalks=(3.0, 3.0), verges=(0.0, 0.0), zebras=(), kerb=0.15,
    lot_map_ZX=np.zeros((round(2 * LOT_EXTENT / LOT_CELL),) * 2, np.uint8), lots=(),
    road=GREY, sidewalk=GREY, verge=GREY, first_instance=1,
)  # fmt: skip
"""A straight road of eight metres between two sidewalks."""
NOON = Light(
    sun_3=(0.0, -1.0, 0.0), sun_colour=(1.0, 1.0, 1.0), sky_colour=(0.5, 0.5, 0.5), zenith=(0.2, 0.4, 0.8),
    horizon=(0.8, 0.8, 0.8), clouds=0.0, softness=0.1, haze=0.0, gain=(1.0, 1.0, 1.0), noise=0.0,
)  # fmt: skip
"""The sun overhead, no clouds, no haze, a camera without noise."""
EYE = (0.0, -1.5, 0.0)
"""Over the middle of the road, 1.5 metres high; it looks along the street."""


def box(middle: Vector, half: Vector, label: Label = Label.BUILDING, yaw: float = 0.0) -> Callable[[Builder], None]:
    """Puts a plain box into a scene, an object of its own."""

    def add(builder: Builder) -> None:
        frame = Frame.on_ground(middle[0], middle[2], yaw, middle[1])
        builder.add(Kind.BOX, frame, half, Look(Material.PLAIN, (0.9, 0.2, 0.2)), (label, builder.instance()))

    return add


FAR_AWAY = box((0.0, 40.0, -400.0), (0.1, 0.1, 0.1))
"""Below the ground, where nobody sees it: a scene has one shape at least."""


def scene_of(
    *shapes: Callable[[Builder], None], ground: Ground = GROUND, light: Light = NOON, heading: float = 0.0
) -> Scene:
    """A street with these shapes."""
    builder = Builder(np.random.default_rng(0))
    for add in shapes or (FAR_AWAY,):
        add(builder)
    return Scene(0, EYE, heading, builder.primitives(), ground, light)


def with_lot(label: Label, paved: Surface = GREY) -> Ground:
    """The street with one lot: everything beyond x = 7."""
    map_ZX = GROUND.lot_map_ZX.copy()
    map_ZX[:, round((LOT_EXTENT + 7) / LOT_CELL) :] = 1
    return replace(GROUND, lot_map_ZX=map_ZX, lots=((label, paved),))
