"""Objects of the street, built somewhere in the world and measured in the frame that they were given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.world.builder import Builder, Frame
from pipeline.world.scene import Label, Primitives

Add = Callable[[Builder, Frame], object]
FRAME = Frame.on_ground(30, -20, yaw=40)
SEEDS = range(16)
"""Enough for every kind that an object may have."""


def built(add: Add, seed: int) -> Primitives:
    """The shapes of one object."""
    builder = Builder(np.random.default_rng(seed))
    add(builder, FRAME)
    return builder.primitives()


def extent(shapes: Primitives, chosen_N: npt.ArrayLike | None = None) -> tuple[tuple[float, float], ...]:
    """(least, most) along x to the right, up, and z forward of the chosen shapes' boxes, all by default; metres."""
    chosen = np.ones(len(shapes), np.bool_) if chosen_N is None else np.asarray(chosen_N)
    own_n3 = (shapes.corners_N83[chosen].reshape(-1, 3) - FRAME.position) @ np.array(FRAME.rotation)
    x, down, z = own_n3.T
    return tuple((float(values.min()), float(values.max())) for values in (x, -down, z))


def require_one_object(shapes: Primitives, label: Label) -> None:
    """All shapes are parts of one thing of a class, which stands where it was put."""
    assert set(shapes.label_N.tolist()) == {label} and len(set(shapes.instance_N.tolist())) == 1
    (left, right), (low, _), (back, front) = extent(shapes)
    assert left < 0.1 and right > -0.1 and back < 0.1 and front > -0.1
    assert -0.9 < low < 0.1, "it neither hovers nor is buried"
