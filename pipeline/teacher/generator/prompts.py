"""Prompts: a grid of points per crop layer, and further ones of one image, which a user of the generator gives.

Legend: P points (x, y), fractions of the image (or crop) in [0, 1]; of further prompts, B things and P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.settings import require

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FurtherPrompts:
    """Prompts of one image beside those of the grid; positions (x, y) are pixels from its upper left corner."""

    boxes_B4: npt.NDArray[np.float64]
    """Boxes (x0, y0, x1, y1) of things, ends exclusive."""
    inside_B22: npt.NDArray[np.float64]
    """Two points in each of these things, (x, y)."""
    points_P2: Points
    """Single points (x, y)."""

    def __len__(self) -> int:
        return len(self.boxes_B4) + len(self.points_P2)


def point_grids(points_per_side: int, crop_n_layers: int, downscale_factor: int) -> tuple[Points, ...]:
    """Regular grids for the image and each layer of crops; a layer has `downscale_factor` times fewer points per side.

    Raises:
        RecipeError: the image or a layer would have no points.
    """
    require(points_per_side > 0, "sam.points_per_side", points_per_side, "a positive number")
    sides = [int(points_per_side / downscale_factor**layer) for layer in range(crop_n_layers + 1)]
    require(min(sides) > 0, "sam.crop_n_points_downscale_factor", downscale_factor,
            f"small enough that all {crop_n_layers} layers of crops have points")  # fmt: skip
    return tuple(_grid(side) for side in sides)


def checked_grids(grids: Sequence[npt.ArrayLike], crop_n_layers: int) -> tuple[Points, ...]:
    """The user's own grids, checked.

    Raises:
        RecipeError: there are fewer grids than layers, or one is not [P, 2] within [0, 1].
    """
    require(len(grids) > crop_n_layers, "point_grids", f"{len(grids)} grids", f"{crop_n_layers + 1}: one per layer")
    points = tuple(np.asarray(grid, np.float64) for grid in grids)
    for grid in points:
        require(grid.ndim == 2 and grid.shape[1] == 2, "point_grids", f"of shape {grid.shape}", "[points, 2] each")
        require(len(grid) > 0 and bool(((grid >= 0) & (grid <= 1)).all()), "point_grids", grid, "within [0, 1]")
    return points


def _grid(side: int) -> Points:
    centres = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y], axis=-1).reshape(-1, 2)
