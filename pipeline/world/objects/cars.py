"""Cars: body, cabin with windows, wheels."""

from __future__ import annotations

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import paint, shade
from pipeline.world.scene import Kind, Label, Material

BODY, CABIN = 1, 2
WHEELS = 3
"""First of four part codes."""

_SHAPES = (
    # length, width, body top, roof, cabin middle (back is +), cabin half length, taper at the sides, taper fore and aft
    (4.3, 1.75, 0.92, 1.46, 0.25, 1.35, 0.20, 0.36),
    (3.7, 1.65, 0.95, 1.52, 0.35, 1.25, 0.18, 0.26),
    (4.6, 1.85, 1.08, 1.74, 0.40, 1.70, 0.16, 0.22),
    (5.0, 1.95, 1.10, 2.25, 0.45, 2.00, 0.10, 0.12),
    (4.5, 1.80, 0.88, 1.40, 0.15, 1.25, 0.22, 0.46),
)


def add_car(builder: Builder, frame: Frame) -> None:
    """A car whose front looks along the frame's z."""
    rng = builder.rng
    length, width, shoulder, roof, middle, reach, side_taper, end_taper = _SHAPES[int(rng.integers(len(_SHAPES)))]
    owner = (Label.CAR, builder.instance())
    base = paint(rng)
    glass = shade((0.20, 0.24, 0.27), rng.uniform(0.5, 1.5))
    radius = rng.uniform(0.30, 0.36)
    axle = length / 2 - rng.uniform(0.75, 0.9)
    body = Look(Material.CAR_BODY, base, paint(rng), (axle, radius, shoulder, 0))
    low = 0.22
    half = (width / 2, (shoulder - low) / 2, length / 2)
    builder.add(Kind.BOX, frame.moved((0, -(shoulder + low) / 2, 0)), half, body, owner, BODY, (0.08, 0.05))
    cabin = Look(Material.CAR_CABIN, base, glass, (0, 0, 0, 0))
    half = (width / 2 * 0.95, (roof - shoulder) / 2, reach)
    centre = frame.moved((0, -(roof + shoulder) / 2, -middle))
    builder.add(Kind.BOX, centre, half, cabin, owner, CABIN, (side_taper, end_taper))
    tyre = Look(
        Material.WHEEL, shade((0.12, 0.12, 0.12), rng.uniform(0.5, 1.6)), shade((0.6, 0.6, 0.62), rng.uniform(0.5, 1.4))
    )
    for number, (x, z) in enumerate(((-1, 1), (1, 1), (-1, -1), (1, -1))):
        place = frame.moved((x * (width / 2 - 0.09), -radius, z * axle), roll=90)
        builder.add(Kind.CYLINDER, place, (radius, 0.12, radius), tyre, owner, WHEELS + number)
