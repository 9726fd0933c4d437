"""Street furniture: lamp posts, bollards, traffic lights, traffic signs."""

from __future__ import annotations

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import grey, paint
from pipeline.world.scene import Cutout, Kind, Label, Material

POST, ARM, LAMP = 1, 2, 3
HOUSING, BACKPLATE = 1, 2
PLATE = 1


def _metal(builder: Builder) -> Look:
    rng = builder.rng
    base = paint(rng) if rng.random() < 0.35 else grey(rng, 0.12, 0.75)
    return Look(Material.METAL, base, paint(rng), (float(rng.random() < 0.2), 0, 0, 0))


def add_post(builder: Builder, frame: Frame, height: float, radius: float) -> tuple[Label, int]:
    """A bare pole; returns its owner, for what belongs to it."""
    owner = (Label.POLE, builder.instance())
    look = _metal(builder)
    builder.add(Kind.CYLINDER, frame.moved((0, -height / 2, 0)), (radius, height / 2, radius), look, owner, POST)
    builder.add(Kind.CYLINDER, frame.moved((0, -0.25, 0)), (radius * 1.5, 0.25, radius * 1.5), look, owner, POST)
    return owner


def add_lamp_post(builder: Builder, frame: Frame) -> None:
    """A street lamp with an arm along the frame's z, or a lantern on top."""
    rng = builder.rng
    height, radius = float(rng.uniform(4.5, 8.5)), float(rng.uniform(0.08, 0.13))
    owner = add_post(builder, frame, height, radius)
    lamp = Look(Material.PLAIN, grey(rng, 0.3, 0.9))
    metal = _metal(builder)
    if rng.random() < 0.3:
        builder.add(Kind.BOX, frame.moved((0, -height - 0.3, 0)), (0.22, 0.3, 0.22), lamp, owner, LAMP, (-0.4, -0.4))
        return
    reach = float(rng.uniform(0.8, 2.2))
    rise = float(rng.uniform(0, 20))
    tip = frame.moved((0, -height + 0.1, 0), pitch=rise)
    builder.add(Kind.CYLINDER, tip.moved((0, 0, reach / 2), pitch=90), (0.06, reach / 2, 0.06), metal, owner, ARM)
    builder.add(Kind.BOX, tip.moved((0, 0, reach + 0.3)), (0.16, 0.09, 0.4), lamp, owner, LAMP, (0.3, 0.2))


def add_bollard(builder: Builder, frame: Frame) -> None:
    """A knee-high post."""
    height, radius = float(builder.rng.uniform(0.7, 1.1)), float(builder.rng.uniform(0.06, 0.11))
    owner = (Label.POLE, builder.instance())
    look = _metal(builder)
    builder.add(Kind.CYLINDER, frame.moved((0, -height / 2, 0)), (radius, height / 2, radius), look, owner, POST)
    builder.add(Kind.ELLIPSOID, frame.moved((0, -height, 0)), (radius, radius, radius), look, owner, POST)


def _housing(builder: Builder, frame: Frame, lamps: int, look: Look) -> None:
    """A signal head that faces the frame's -z."""
    owner = (Label.TRAFFIC_LIGHT, builder.instance())
    radius = 0.16 + 0.06 * float(builder.rng.random())
    half = (radius * 1.25, radius * 1.12 * lamps, 0.16)
    style = (float(lamps), float(builder.rng.integers(lamps)), radius, 0)
    builder.add(Kind.BOX, frame, half, Look(look.material, look.base, look.accent, style), owner, HOUSING)
    for i in range(lamps):
        y = -half[1] + radius * 1.12 * (2 * i + 1)
        hood = frame.moved((0, y - radius * 0.92, -0.27))
        builder.add(Kind.BOX, hood, (radius * 0.9, 0.02, 0.14), Look(Material.PLAIN, look.base), owner, HOUSING)
    if look.style[0] > 0:
        board = Look(Material.SIGN, look.base, look.accent, (0, 0, 0, 0))
        builder.add(Kind.CARD, frame.moved((0, 0, 0.05)), (half[0] + 0.2, half[1] + 0.2, 0.02), board, owner, BACKPLATE)


def add_traffic_light(builder: Builder, frame: Frame) -> None:
    """A pole with one to three signal heads that face the frame's -z, sometimes one on an arm over the road (-x)."""
    rng = builder.rng
    dark = rng.random() < 0.6
    base = grey(rng, 0.05, 0.2) if dark else paint(rng)
    look = Look(Material.LIGHT_HOUSING, base, grey(rng, 0.6, 0.95), (float(rng.random() < 0.45), 0, 0, 0))
    height, radius = float(rng.uniform(3.3, 4.2)), float(rng.uniform(0.07, 0.1))
    arm = rng.random() < 0.4
    owner = add_post(builder, frame, 5.9 if arm else height, radius)
    if arm:
        reach = float(rng.uniform(2.5, 4.5))
        metal = _metal(builder)
        bar = frame.moved((-reach / 2, -5.7, 0), roll=90)
        builder.add(Kind.CYLINDER, bar, (0.06, reach / 2, 0.06), metal, owner, ARM)
        _housing(builder, frame.moved((-reach, -5.6, -0.2)), 3, look)
    _housing(builder, frame.moved((0, -height + 0.6, -radius - 0.18)), 3, look)
    if rng.random() < 0.6:
        side = frame.moved((-radius - 0.2, -2.3, 0), yaw=float(rng.choice((90, -90, 180))))
        _housing(builder, side, 2, look)


_PLATES = (Cutout.DISC, Cutout.TRIANGLE, Cutout.NONE, Cutout.OCTAGON, Cutout.DIAMOND, Cutout.DISC, Cutout.NONE)


def _plate(builder: Builder, frame: Frame, half: tuple[float, float], cutout: Cutout) -> None:
    """A painted plate that faces the frame's -z; its owner is itself, not the pole."""
    rng = builder.rng
    owner = (Label.TRAFFIC_SIGN, builder.instance())
    look = Look(Material.SIGN, _sign_paint(builder), _sign_paint(builder), (float(1 + rng.integers(5)), 0, 0, 0))
    builder.add(Kind.CARD, frame, (*half, 0.02), look, owner, PLATE, cutout=cutout)


def _sign_paint(builder: Builder) -> tuple[float, float, float]:
    rng = builder.rng
    return grey(rng, 0.75, 0.95) if rng.random() < 0.4 else paint(rng)


def add_sign(builder: Builder, frame: Frame) -> None:
    """One or two plates on a pole, facing the frame's -z."""
    rng = builder.rng
    height, radius = float(rng.uniform(2.4, 3.5)), float(rng.uniform(0.045, 0.07))
    add_post(builder, frame, height, radius)
    cutout = _PLATES[int(rng.integers(len(_PLATES)))]
    size = float(rng.uniform(0.38, 0.62))
    half = (size, size) if cutout != Cutout.NONE else (size, size * float(rng.uniform(0.7, 1.4)))
    _plate(builder, frame.moved((0, -height + half[1] - 0.05, -radius - 0.03)), half, cutout)
    if rng.random() < 0.45:
        below = frame.moved((0, -height + 2 * half[1] + 0.25, -radius - 0.03))
        _plate(builder, below, (size * 0.9, 0.2), Cutout.NONE)


def add_board(builder: Builder, frame: Frame) -> None:
    """A large direction board on two poles, facing the frame's -z."""
    rng = builder.rng
    half = (float(rng.uniform(0.9, 1.5)), float(rng.uniform(0.5, 0.8)))
    for side in (-0.7, 0.7):
        add_post(builder, frame.moved((side * half[0], 0, 0)), 3.4, 0.05)
    _plate(builder, frame.moved((0, -3.4 + half[1] - 0.1, -0.1)), half, Cutout.NONE)
