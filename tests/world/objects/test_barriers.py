"""Walls and fences: one thing each, along x, as long and about as high as they are told."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.world.objects.barriers import BODY, add_fence, add_wall
from pipeline.world.scene import Cutout, Label
from tests.world.objects.built import SEEDS, built, extent, require_one_object


@pytest.mark.parametrize(("length", "height"), [(2.0, 1.2), (9.0, 2.0)])
@pytest.mark.parametrize("seed", SEEDS[:6])
def test_walls_and_fences_run_along_x(length: float, height: float, seed: int) -> None:
    for add, label in ((add_wall, Label.WALL), (add_fence, Label.FENCE)):
        shapes = built(partial(add, length=length, height=height), seed)
        require_one_object(shapes, label)
        (left, right), (_, top), (back, front) = extent(shapes)
        assert right - left == pytest.approx(length, abs=0.5) and height <= top < height + 0.3
        assert front - back < 0.6
        is_open = set(shapes.cutout_N[shapes.part_N == BODY].tolist()) <= {Cutout.PICKETS, Cutout.RAILS}
        assert is_open == (label == Label.FENCE), "one sees through fences"
