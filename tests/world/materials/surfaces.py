"""Points on shapes of one material, for the tests of what is painted there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.world.builder import Builder, Frame, Look, Vector
from pipeline.world.materials import Points
from pipeline.world.primitives import FRONT
from pipeline.world.scene import Cutout, Kind, Label, Material

Style = tuple[float, float, float, float]


def points_on(
    material: Material,
    metric_n3: npt.ArrayLike,
    half: Vector = (1.0, 1.0, 1.0),
    style: Style = (0.0, 0.0, 0.0, 0.0),
    *,
    kind: Kind = Kind.BOX,
    face: int | npt.ArrayLike = FRONT,
    footprint: float = 0.001,
    cutout: Cutout = Cutout.NONE,
    taper: tuple[float, float] = (0.0, 0.0),
) -> Points:
    """Points of one shape, whose main colour is red and whose second one is blue.

    Args:
        material: what it is made of.
        metric_n3: local coordinates, metres from its middle: x right, y down, z forward.
        half: half its sizes, metres.
        style: see the material.
        kind: its shape.
        face: of all points, or of each.
        footprint: size of a pixel at the points, metres.
        cutout: what is missing of it.
        taper: by which fraction its top is shorter.
    """
    metric = np.atleast_2d(np.asarray(metric_n3, np.float32))
    builder = Builder(np.random.default_rng(0))
    look = Look(material, (0.8, 0.2, 0.1), (0.1, 0.2, 0.8), style)
    builder.add(kind, Frame.on_ground(0, 0), half, look, (Label.WALL, 1), 5, taper=taper, cutout=cutout)
    count = len(metric)
    faces = np.broadcast_to(np.asarray(face, np.uint8), count)
    return Points(builder.primitives(), np.zeros(count, np.int32), faces, metric,
                  np.full(count, footprint, np.float32))  # fmt: skip


def grid(half_x: float, half_y: float, size: int, z: float) -> npt.NDArray[np.float32]:
    """Points of a regular grid on the face at z, row by row from its top left [size * size, 3]."""
    steps = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(steps * half_x, steps * half_y)
    return np.stack((x, y, np.full_like(x, z)), axis=-1).reshape(-1, 3).astype(np.float32)
