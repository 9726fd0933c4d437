"""Buildings: a block with facades, a roof, and what sticks out of them."""

from __future__ import annotations

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import colour, grey, paint, shade
from pipeline.world.scene import Kind, Label, Material

FACADE, ROOF, CHIMNEY, CORNICE, BALCONY, AWNING = 1, 2, 3, 4, 5, 6


def _facade(builder: Builder, shops: bool) -> Look:
    rng = builder.rng
    style = (float(rng.uniform(2.8, 3.6)), float(rng.uniform(1.7, 3.2)), float(rng.integers(4)), float(shops))
    return Look(Material.FACADE, colour(rng, 0.5, 0.3, 0.9), grey(rng, 0.2, 0.95), style)


def add_building(builder: Builder, frame: Frame, width: float, depth: float, height: float) -> None:
    """A building of width x depth metres whose front is the frame's z = 0 plane, facing -z."""
    rng = builder.rng
    owner = (Label.BUILDING, builder.instance())
    look = _facade(builder, rng.random() < 0.4)
    middle = frame.moved((0, -height / 2, depth / 2))
    builder.add(Kind.BOX, middle, (width / 2, height / 2, depth / 2), look, owner, FACADE)
    top = frame.moved((0, -height, depth / 2))
    tiles = Look(Material.ROOF, colour(rng, 0.5, 0.15, 0.65), grey(rng), (float(rng.integers(3)), 0, 0, 0))
    if rng.random() < 0.6:
        _pitched_roof(builder, top, (width, depth), tiles, owner)
    else:
        rim = Look(Material.PLAIN, shade(look.base, float(rng.uniform(0.6, 1.3))))
        builder.add(Kind.BOX, top.moved((0, -0.15, 0)), (width / 2 + 0.15, 0.25, depth / 2 + 0.15), rim, owner, CORNICE)
    _details(builder, frame, (width, height), look, owner)


def _pitched_roof(
    builder: Builder, top: Frame, size: tuple[float, float], tiles: Look, owner: tuple[Label, int]
) -> None:
    """A gable (ridge along x or z) or hip roof with a chimney."""
    rng = builder.rng
    width, depth = size
    rise = float(rng.uniform(1.5, 4.0))
    half = (width / 2 + 0.25, rise / 2, depth / 2 + 0.25)
    kind = rng.random()
    taper = (0.02, 1.0) if kind < 0.5 else (1.0, 0.02) if kind < 0.7 else (0.5, 0.9)
    builder.add(Kind.BOX, top.moved((0, -rise / 2, 0)), half, tiles, owner, ROOF, taper)
    brick = Look(Material.MASONRY, grey(rng, 0.2, 0.7), grey(rng), (0, 0.3, 0, 0))
    x = float(rng.uniform(-0.35, 0.35)) * width
    builder.add(Kind.BOX, top.moved((x, -rise * 0.7, 0)), (0.35, rise * 0.7, 0.35), brick, owner, CHIMNEY)


def _details(builder: Builder, frame: Frame, size: tuple[float, float], look: Look, owner: tuple[Label, int]) -> None:
    """A cornice, balconies, an awning: they break the outline and cast shadows."""
    rng = builder.rng
    width, height = size
    ledge = Look(Material.PLAIN, shade(look.base, float(rng.uniform(0.7, 1.25))))
    if rng.random() < 0.6:
        builder.add(Kind.BOX, frame.moved((0, -3.5, 0)), (width / 2, 0.12, 0.18), ledge, owner, CORNICE)
    storeys = max(1, round(height / look.style[0]))
    if rng.random() < 0.4 and storeys > 2:
        rail = Look(Material.PLANKS, paint(rng), grey(rng), (0.2, 0.5, 0, 0))
        x = float(rng.uniform(-0.3, 0.3)) * width
        for storey in range(1, storeys):
            place = frame.moved((x, -(storey + 0.18) * height / storeys, -0.5))
            builder.add(Kind.BOX, place, (1.3, 0.45, 0.5), rail, owner, BALCONY)
    if look.style[3] > 0 and rng.random() < 0.6:
        cloth = Look(Material.CLOTH, paint(rng), paint(rng), (1, 0.3, 0, 0))
        place = frame.moved((0, -2.75, -0.6), pitch=18)
        builder.add(Kind.BOX, place, (width * float(rng.uniform(0.25, 0.45)), 0.05, 0.65), cloth, owner, AWNING)
