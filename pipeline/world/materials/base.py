"""Points on surfaces, and what a material makes of them.

Legend: n points. u, v are metres: u runs along the surface, v upwards from its lower edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.world.primitives import BOTTOM, LEFT, RIGHT, TOP
from pipeline.world.scene import Bool, Byte, Float, Int, Kind, Primitives


@dataclass(frozen=True)
class Points:
    """Visible points of shapes of one material."""

    primitives: Primitives
    shape_n: Int
    face_n: Byte
    metric_n3: Float
    """Local coordinates in metres (x right, y down, z forward)."""
    footprint_n: Float
    """Size of a pixel at the point, metres."""

    @property
    def half_n3(self) -> Float:
        """Half extents of the shape."""
        return self.primitives.half_N3[self.shape_n]

    @property
    def base_n3(self) -> Float:
        """Main colour."""
        return self.primitives.base_N3[self.shape_n]

    @property
    def accent_n3(self) -> Float:
        """Second colour."""
        return self.primitives.accent_N3[self.shape_n]

    @property
    def salt_n(self) -> Float:
        """Random number of the shape."""
        return self.primitives.salt_N[self.shape_n]

    @property
    def part_n(self) -> Int:
        """Part code of the shape."""
        return self.primitives.part_N[self.shape_n]

    def style(self, number: int) -> Float:
        """One of the four style numbers."""
        return self.primitives.style_N4[self.shape_n, number]

    @property
    def sideways_n(self) -> Bool:
        """Whether the face looks along the shape's x."""
        return (self.face_n == RIGHT) | (self.face_n == LEFT)

    @property
    def level_n(self) -> Bool:
        """Whether the face is the top or bottom of a box."""
        return (self.face_n == TOP) | (self.face_n == BOTTOM)

    def surface(self) -> tuple[Float, Float]:
        """(u, v): metres along and up each face."""
        x, y, z = self.metric_n3.T
        kind = self.primitives.kind_N[self.shape_n]
        half = self.half_n3
        box_u = np.where(self.sideways_n, z, x)
        box_v = np.where(self.level_n, z, half[:, 1] - y)
        boxy = (kind == Kind.BOX) | (kind == Kind.CARD)
        around = np.where(
            kind == Kind.CYLINDER, np.arctan2(x, z) * half[:, 0], np.float32(0.8) * x + np.float32(0.6) * z
        )
        round_u = around if not boxy.all() else box_u
        level = boxy & self.level_n & (kind == Kind.BOX)
        u = np.where(boxy, np.where(level, x, np.where(kind == Kind.CARD, x, box_u)), round_u)
        v = np.where(level, z, np.where(boxy, np.where(kind == Kind.CARD, half[:, 1] - y, box_v), half[:, 1] - y))
        return np.asarray(u, np.float32), np.asarray(v, np.float32)


@dataclass(frozen=True)
class Paint:
    """Colours and details of points."""

    colour_n3: Float
    """sRGB-like colour, 0..1; above 1 where a lamp shines."""
    part_n: Int
    """Part codes, 1..4095."""
