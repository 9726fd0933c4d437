"""Vegetation: broad-leaved trees, conifers, hedges, bushes."""

from __future__ import annotations

from math import atan2, cos, degrees, hypot, sin, tau

from pipeline.world.builder import Builder, Frame, Look
from pipeline.world.palette import colour, leaf, shade
from pipeline.world.scene import Cutout, Kind, Label, Material

TRUNK, CROWN = 1, 2


def _foliage(builder: Builder, density: float) -> Look:
    base = leaf(builder.rng)
    return Look(Material.FOLIAGE, base, shade(base, float(builder.rng.uniform(1.05, 1.5))), (density, 0, 0, 0))


def _bark(builder: Builder) -> Look:
    return Look(Material.BARK, colour(builder.rng, 0.4, 0.12, 0.6))


def add_tree(builder: Builder, frame: Frame, height: float) -> None:
    """A tree with a crown of overlapping leafy balls, or a conifer of stacked ones."""
    if builder.rng.random() < 0.2:
        _add_conifer(builder, frame, height)
    else:
        _add_broadleaf(builder, frame, height)


def _add_broadleaf(builder: Builder, frame: Frame, height: float) -> None:
    rng = builder.rng
    owner = (Label.VEGETATION, builder.instance())
    bark, leaves = _bark(builder), _foliage(builder, float(rng.uniform(0.6, 0.88)))
    radius = height * float(rng.uniform(0.022, 0.034))
    fork = height * float(rng.uniform(0.36, 0.5))
    builder.add(Kind.CYLINDER, frame.moved((0, -fork / 2, 0)), (radius, fork / 2, radius), bark, owner, TRUNK)
    spread = height * float(rng.uniform(0.18, 0.27))
    count = int(rng.integers(5, 9))
    start = float(rng.uniform(0, tau))
    for i in range(count):
        angle = start + tau * i / count
        out, up = spread * float(rng.uniform(0.5, 1.0)), float(rng.uniform(fork * 1.1, height * 0.85))
        tip = (out * cos(angle), -up, out * sin(angle))
        _branch(builder, frame, (fork, tip), radius, bark, owner)
        size = spread * float(rng.uniform(0.5, 0.85))
        ball = (size, size * float(rng.uniform(0.85, 1.2)), size)
        builder.add(Kind.ELLIPSOID, frame.moved(tip, yaw=40 * i), ball, leaves, owner, CROWN, cutout=Cutout.LEAVES)
    core = (spread * 0.85, (height - fork) * 0.48, spread * 0.85)
    middle = frame.moved((0, -(height + fork) / 2, 0))
    builder.add(Kind.ELLIPSOID, middle, core, leaves, owner, CROWN, cutout=Cutout.LEAVES)


def _branch(
    builder: Builder,
    frame: Frame,
    ends: tuple[float, tuple[float, float, float]],
    radius: float,
    bark: Look,
    owner: tuple[Label, int],
) -> None:
    """A straight branch from the fork to the middle of a ball."""
    fork, (x, y, z) = ends
    rise, out = -y - fork * 0.9, hypot(x, z)
    length = hypot(rise, out)
    lean = frame.moved((x / 2, (y - fork * 0.9) / 2, z / 2), yaw=degrees(atan2(x, z)), pitch=-degrees(atan2(out, rise)))
    builder.add(Kind.CYLINDER, lean, (radius * 0.45, length / 2, radius * 0.45), bark, owner, TRUNK)


def _add_conifer(builder: Builder, frame: Frame, height: float) -> None:
    rng = builder.rng
    owner = (Label.VEGETATION, builder.instance())
    bark, needles = _bark(builder), _foliage(builder, float(rng.uniform(0.7, 0.92)))
    builder.add(Kind.CYLINDER, frame.moved((0, -height * 0.4, 0)), (0.14, height * 0.4, 0.14), bark, owner, TRUNK)
    layers, width = 6, height * float(rng.uniform(0.16, 0.24))
    for i in range(layers):
        share = i / layers
        size = width * (1 - share) + 0.25
        ring = frame.moved((0, -height * (0.2 + 0.75 * share), 0), yaw=50 * i)
        half = (size, height * 0.11, size)
        builder.add(Kind.ELLIPSOID, ring, half, needles, owner, CROWN, cutout=Cutout.LEAVES)


def add_bush(builder: Builder, frame: Frame, size: float) -> None:
    """Two to four leafy balls on the ground."""
    rng = builder.rng
    owner = (Label.VEGETATION, builder.instance())
    look = _foliage(builder, 0.95)
    for _ in range(int(rng.integers(2, 5))):
        half = (
            size * float(rng.uniform(0.5, 0.9)),
            size * float(rng.uniform(0.5, 0.9)),
            size * float(rng.uniform(0.5, 0.9)),
        )
        place = frame.moved((float(rng.normal(0, size * 0.4)), -half[1] * 0.75, float(rng.normal(0, size * 0.3))))
        builder.add(Kind.ELLIPSOID, place, half, look, owner, CROWN, cutout=Cutout.LEAVES)


def add_hedge(builder: Builder, frame: Frame, length: float, height: float) -> None:
    """A clipped hedge along the frame's x: a leafy box with bumps on top."""
    rng = builder.rng
    owner = (Label.VEGETATION, builder.instance())
    look = _foliage(builder, 0.97)
    builder.add(
        Kind.BOX, frame.moved((0, -height / 2, 0)), (length / 2, height / 2, 0.38), look, owner, CROWN, (0.01, 0.2)
    )
    for i in range(int(length / 1.1)):
        x = -length / 2 + 0.6 + 1.1 * i
        half = (0.75, float(rng.uniform(0.22, 0.34)), 0.46)
        place = frame.moved((x, -height, 0))
        builder.add(Kind.ELLIPSOID, place, half, look, owner, CROWN, cutout=Cutout.LEAVES)
