"""People: head, hair, torso, arms, legs, sometimes a skirt, a bag or a hat."""

from __future__ import annotations

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import grey, paint, skin
from pipeline.world.scene import Colour, Kind, Label, Material

HEAD, HAIR, TORSO, ARM_LEFT, ARM_RIGHT, LEG_LEFT, LEG_RIGHT, SHOE_LEFT, SHOE_RIGHT, SKIRT, BAG = range(1, 12)


def _cloth(builder: Builder) -> Look:
    rng = builder.rng
    return Look(
        Material.CLOTH,
        paint(rng),
        paint(rng),
        (float(rng.choice((0, 0, 0, 0, 1, 2))), float(rng.uniform(0.05, 0.16)), 0, 0),
    )


def add_person(builder: Builder, frame: Frame) -> None:
    """A person of 1.35 to 2.06 m, hair included, who looks along the frame's z, standing or walking."""
    rng = builder.rng
    owner = (Label.PERSON, builder.instance())
    s = float(rng.uniform(0.75, 0.9) if rng.random() < 0.12 else rng.uniform(0.92, 1.12))
    stride = float(rng.uniform(10, 32) if rng.random() < 0.65 else rng.uniform(0, 5))
    top, trousers, flesh = _cloth(builder), _cloth(builder), skin(rng)
    girth = float(rng.uniform(0.85, 1.2))
    _legs(builder, frame, owner, s, stride, trousers)
    _arms(builder, frame, owner, s, stride, (top, girth), flesh)
    chest = frame.moved((0, -1.18 * s, 0), pitch=float(rng.uniform(-6, 4)))
    builder.add(Kind.BOX, chest, (0.20 * s * girth, 0.30 * s, 0.12 * s * girth), top, owner, TORSO, (-0.15, 0.1))
    shoulders = frame.moved((0, -1.45 * s, 0))
    builder.add(Kind.ELLIPSOID, shoulders, (0.235 * s * girth, 0.085 * s, 0.115 * s), top, owner, TORSO)
    _head(builder, frame, owner, s, flesh)
    if rng.random() < 0.25:
        skirt = frame.moved((0, -0.75 * s, 0))
        builder.add(Kind.BOX, skirt, (0.27 * s, 0.26 * s, 0.2 * s), trousers, owner, SKIRT, (0.3, 0.3))
    if rng.random() < 0.4:
        _bag(builder, frame, owner, s)


def _legs(builder: Builder, frame: Frame, owner: tuple[Label, int], s: float, stride: float, look: Look) -> None:
    shoe = Look(Material.PLAIN, grey(builder.rng, 0.05, 0.8))
    for side, leg, foot in ((-1, LEG_LEFT, SHOE_LEFT), (1, LEG_RIGHT, SHOE_RIGHT)):
        hip = frame.moved((side * 0.095 * s, -0.92 * s, 0), pitch=side * stride)
        builder.add(Kind.CYLINDER, hip.moved((0, 0.43 * s, 0)), (0.085 * s, 0.44 * s, 0.095 * s), look, owner, leg)
        builder.add(
            Kind.ELLIPSOID, hip.moved((0, 0.87 * s, 0.05 * s)), (0.06 * s, 0.05 * s, 0.14 * s), shoe, owner, foot
        )


def _arms(
    builder: Builder,
    frame: Frame,
    owner: tuple[Label, int],
    s: float,
    stride: float,
    wear: tuple[Look, float],
    flesh: Colour,
) -> None:
    top, girth = wear
    hand = Look(Material.PLAIN, flesh)
    raised = builder.rng.random() < 0.15
    for side, part in ((-1, ARM_LEFT), (1, ARM_RIGHT)):
        lift = 70.0 if raised and side > 0 else -side * stride * 0.9
        shoulder = frame.moved((side * 0.24 * s * girth, -1.44 * s, 0), pitch=lift, roll=-side * 8)
        builder.add(Kind.CYLINDER, shoulder.moved((0, 0.3 * s, 0)), (0.055 * s, 0.3 * s, 0.06 * s), top, owner, part)
        builder.add(Kind.ELLIPSOID, shoulder.moved((0, 0.64 * s, 0)), (0.05 * s, 0.08 * s, 0.05 * s), hand, owner, part)


def _head(builder: Builder, frame: Frame, owner: tuple[Label, int], s: float, flesh: Colour) -> None:
    rng = builder.rng
    hair = grey(rng, 0.04, 0.6) if rng.random() < 0.75 else paint(rng)
    face = frame.moved((0, -1.66 * s, 0.02 * s))
    builder.add(
        Kind.CYLINDER,
        frame.moved((0, -1.52 * s, 0)),
        (0.06 * s, 0.07 * s, 0.06 * s),
        Look(Material.PLAIN, flesh),
        owner,
        HEAD,
    )
    builder.add(Kind.ELLIPSOID, face, (0.095 * s, 0.13 * s, 0.11 * s), Look(Material.HEAD, flesh, hair), owner, HEAD)
    long = 0.14 if rng.random() < 0.4 else 0.09
    top = frame.moved((0, -(1.78 - long * 0.6) * s, -0.035 * s))
    builder.add(Kind.ELLIPSOID, top, (0.108 * s, long * s, 0.105 * s), Look(Material.PLAIN, hair), owner, HAIR)


def _bag(builder: Builder, frame: Frame, owner: tuple[Label, int], s: float) -> None:
    rng = builder.rng
    look = Look(Material.CLOTH, paint(rng), paint(rng), (float(rng.integers(4)), 0.1, 0, 0))
    if rng.random() < 0.5:
        builder.add(Kind.BOX, frame.moved((0, -1.22 * s, -0.2 * s)), (0.16 * s, 0.22 * s, 0.09 * s), look, owner, BAG)
    else:
        builder.add(
            Kind.BOX, frame.moved((0.36 * s, -0.6 * s, 0)), (0.06 * s, 0.16 * s, 0.18 * s), look, owner, BAG, (0.1, 0.1)
        )
