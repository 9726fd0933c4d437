"""Cars: one thing each, on four wheels, looking forward."""

from __future__ import annotations

import pytest

from pipeline.world.objects.cars import BODY, CABIN, WHEELS, add_car
from pipeline.world.scene import Label
from tests.world.objects.built import SEEDS, built, extent, require_one_object


@pytest.mark.parametrize("seed", SEEDS)
def test_a_car_stands_on_four_wheels_and_its_cabin_is_on_its_body(seed: int) -> None:
    shapes = built(add_car, seed)
    require_one_object(shapes, Label.CAR)
    wheels = [shapes.part_N == WHEELS + number for number in range(4)]
    for wheel in wheels:
        assert extent(shapes, wheel)[1][0] == pytest.approx(0, abs=1e-3)
    assert extent(shapes, shapes.part_N == BODY)[1][0] > 0.1
    assert extent(shapes, shapes.part_N == CABIN)[1][0] == pytest.approx(extent(shapes, shapes.part_N == BODY)[1][1])
    (left, right), (_, top), (back, front) = extent(shapes)
    assert front - back > right - left > 1.5 and 1.3 < top < 2.4
