"""Placement of a picture on the canvas that networks see: all of it, or a part whose surroundings are unseen.

The canvas spans 360 degrees and the run's vertical field of view around the horizon. A `Placement` measures it in
pixels of the picture's own scale, so that predictions on the canvas map to every pixel of the picture.

Legend: H W canvas at whatever size, h w picture (its own pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.arrays import ScalarT
from pipeline.errors import counted
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES


@dataclass(frozen=True)
class Placement:
    """The rectangle of a canvas that a picture fills; all in pixels of the picture's own scale."""

    canvas_height: int
    """Rows of the canvas."""
    canvas_width: int
    """Columns of the canvas, which are 360 degrees."""
    top: int
    """Row of the canvas where the picture starts."""
    left: int
    """Column of the canvas where the picture starts."""
    height: int
    """Rows of the picture."""
    width: int
    """Columns of the picture."""
    pitch: float = 0.0
    """Degrees that the camera looked up; networks see the levelled canvas (see `level`)."""
    roll: float = 0.0
    """Degrees that its right side was lower than its left."""
    vertical_fov: float = FULL_SPHERE_DEGREES
    """Degrees around the horizon that the canvas covers."""

    @classmethod
    def whole(cls, height: int, width: int) -> Placement:
        """The placement of a picture that fills the canvas."""
        return cls(height, width, 0, 0, height, width)

    @property
    def is_whole(self) -> bool:
        """Whether the picture fills the canvas."""
        return (self.height, self.width) == (self.canvas_height, self.canvas_width)

    @property
    def is_tilted(self) -> bool:
        """Whether the canvas has to be levelled."""
        return (self.pitch, self.roll) != (0, 0)

    @property
    def tilt(self) -> float:
        """Angle between the camera's and the world's vertical axis, degrees, 0 to 180."""
        upright = math.cos(math.radians(self.pitch)) * math.cos(math.radians(self.roll))
        return math.degrees(math.acos(min(1.0, max(-1.0, upright))))

    def at_size(self, height: int, width: int) -> Placement:
        """The placement of the same picture, or of its labels, at another size of height x width pixels."""
        if (height, width) == (self.height, self.width):
            return self
        down, across = height / self.height, width / self.width
        canvas_height = max(height, round(self.canvas_height * down))
        canvas_width = max(width, round(self.canvas_width * across))
        top = min(round(self.top * down), canvas_height - height)
        left = min(round(self.left * across), canvas_width - width)
        return replace(self, canvas_height=canvas_height, canvas_width=canvas_width, top=top, left=left, height=height,
                       width=width)  # fmt: skip

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the picture on a canvas of height x width pixels, to the nearest pixel."""
        return (
            _span(self.top, self.height, height / self.canvas_height, height),
            _span(self.left, self.width, width / self.canvas_width, width),
        )

    def put(self, values_hw: npt.NDArray[ScalarT], outside: int) -> npt.NDArray[ScalarT]:
        """The canvas [H, W] (own scale) with the picture's values [h, w] in their place and `outside` elsewhere."""
        canvas_HW = np.full((self.canvas_height, self.canvas_width), outside, values_hw.dtype)
        canvas_HW[self.rows, self.columns] = values_hw
        return canvas_HW

    def cut(self, canvas_HW: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """The picture's values [h, w] out of a canvas [H, W] of its own scale."""
        return canvas_HW if self.is_whole else canvas_HW[self.rows, self.columns].copy()

    @property
    def rows(self) -> slice:
        """Rows of the canvas that the picture fills, at its own scale."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Columns of the canvas that the picture fills, at its own scale."""
        return slice(self.left, self.left + self.width)


def placement_note(placed: int) -> str:
    """How many panoramas are parts of the canvas, in a sentence; empty for none."""
    if not placed:
        return ""
    return f"{counted(placed, 'panorama')} placed on the sphere by GPano tags; the rest of the sphere is ignored there"


def _span(first: int, length: int, scale: float, end: int) -> slice:
    start = min(round(first * scale), end - 1)
    return slice(start, max(start + 1, round((first + length) * scale)))
