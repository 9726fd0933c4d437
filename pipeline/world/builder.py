"""Collects the shapes of a scene: objects say what they are made of, in their own frame.

The frame of an object: x to its right, y down, z forward, its origin where it stands; metres and degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import cos, radians, sin

import numpy as np

from pipeline.panorama.sphere import rotation
from pipeline.world.scene import (
    GROUND_INSTANCES,
    Colour,
    Cutout,
    Kind,
    Label,
    Material,
    Primitives,
)

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Matrix:
    """Rotation matrix as nested tuples, which are much faster than arrays at this size."""
    if pitch == 0 and roll == 0:
        c, s = cos(radians(yaw)), sin(radians(yaw))
        return ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c))
    a, b, c3 = rotation(yaw, pitch, roll).tolist()
    return (tuple(a), tuple(b), tuple(c3))


def _multiply(a: Matrix, b: Matrix) -> Matrix:
    columns = tuple(zip(*b, strict=True))
    return tuple(tuple(x[0] * c[0] + x[1] * c[1] + x[2] * c[2] for c in columns) for x in a)  # type: ignore[return-value]


@dataclass(frozen=True)
class Frame:
    """A place and an orientation in the world."""

    position: Vector
    rotation: Matrix

    @staticmethod
    def on_ground(x: float, z: float, yaw: float = 0.0, y: float = 0.0) -> Frame:
        """Upright at (x, z), looking towards `yaw`."""
        return Frame((x, y, z), turned(yaw))

    def point(self, local: Vector) -> Vector:
        """World position of a local point."""
        x, y, z = local
        a, b, c = self.rotation
        p = self.position
        return (
            p[0] + a[0] * x + a[1] * y + a[2] * z,
            p[1] + b[0] * x + b[1] * y + b[2] * z,
            p[2] + c[0] * x + c[1] * y + c[2] * z,
        )

    def moved(self, local: Vector, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Frame:
        """A frame inside this one."""
        turn = self.rotation if yaw == pitch == roll == 0 else _multiply(self.rotation, turned(yaw, pitch, roll))
        return Frame(self.point(local), turn)


@dataclass(frozen=True)
class Look:
    """Material and colours of a shape."""

    material: Material
    base: Colour
    accent: Colour = (0.5, 0.5, 0.5)
    style: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass
class Builder:
    """The list of shapes under construction."""

    rng: np.random.Generator
    next_instance: int = 1 + GROUND_INSTANCES
    ids: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    numbers: list[tuple[float, ...]] = field(default_factory=list)

    def instance(self) -> int:
        """A fresh object id."""
        self.next_instance += 1
        return self.next_instance - 1

    def add(
        self,
        kind: Kind,
        frame: Frame,
        half: Vector,
        look: Look,
        owner: tuple[Label, int],
        part: int = 1,
        taper: tuple[float, float] = (0.0, 0.0),
        cutout: Cutout = Cutout.NONE,
    ) -> None:
        """One shape around the origin of `frame`; owner is (class, object id)."""
        self.ids.append((kind, cutout, look.material, *owner, part))
        a, b, c = frame.rotation
        self.numbers.append((*frame.position, *a, *b, *c, *half, *taper, *look.base, *look.accent, *look.style))

    def primitives(self) -> Primitives:
        """All shapes as arrays."""
        ids = np.array(self.ids, np.int32)
        numbers = np.array(self.numbers, np.float32)
        byte = ids[:, :4].astype(np.uint8)
        return Primitives(
            kind_N=byte[:, 0],
            cutout_N=byte[:, 1],
            material_N=byte[:, 2],
            label_N=byte[:, 3],
            instance_N=ids[:, 4],
            part_N=ids[:, 5],
            centre_N3=numbers[:, :3],
            rotation_N33=numbers[:, 3:12].reshape(-1, 3, 3),
            half_N3=numbers[:, 12:15],
            taper_N2=numbers[:, 15:17],
            base_N3=numbers[:, 17:20],
            accent_N3=numbers[:, 20:23],
            style_N4=numbers[:, 23:27],
            salt_N=self.rng.random(len(ids), np.float32),
        )
