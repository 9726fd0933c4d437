"""How surfaces are painted: each material turns points into colours and, where it paints details, into part codes."""

from pipeline.world.materials.base import Paint, Points
from pipeline.world.materials.registry import paint_points

__all__ = ["Paint", "Points", "paint_points"]
