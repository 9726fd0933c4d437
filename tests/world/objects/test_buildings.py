"""Buildings: one thing each, with its front where it was asked for, and what may stick out of it."""

from __future__ import annotations

from functools import partial

import pytest

from pipeline.world.objects.buildings import AWNING, BALCONY, CHIMNEY, CORNICE, FACADE, ROOF, add_building
from pipeline.world.scene import Label, Material, Primitives
from tests.world.objects.built import SEEDS, built, extent, require_one_object


def building(seed: int, width: float = 12, depth: float = 7, height: float = 10) -> Primitives:
    return built(partial(add_building, width=width, depth=depth, height=height), seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_block_is_as_large_as_asked_for_with_its_front_at_z_0(seed: int) -> None:
    shapes = building(seed)
    require_one_object(shapes, Label.BUILDING)
    block = shapes.part_N == FACADE
    (left, right), (low, top), (front, back) = extent(shapes, block)
    assert (left, right, low, top) == pytest.approx((-6, 6, 0, 10), abs=1e-3)
    assert (front, back) == pytest.approx((0, 7), abs=1e-3)
    assert shapes.material_N[block].tolist() == [Material.FACADE]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_roof_with_a_chimney_or_a_rim_lies_on_top(seed: int) -> None:
    shapes = building(seed)
    parts = set(shapes.part_N.tolist())
    assert (ROOF in parts) == (CHIMNEY in parts)
    if ROOF in parts:
        assert extent(shapes, shapes.part_N == ROOF)[1][0] == pytest.approx(10, abs=1e-3)
        assert extent(shapes, shapes.part_N == CHIMNEY)[1][1] > 11
    else:
        assert extent(shapes, shapes.part_N == CORNICE)[1][1] == pytest.approx(10.4, abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_sticks_out_into_the_road(seed: int) -> None:
    (left, right), _, (front, back) = extent(building(seed))
    assert left > -6.5 and right < 6.5 and front > -1.5 and back < 7.5


def test_balconies_are_for_houses_of_more_than_two_storeys_and_awnings_for_shops() -> None:
    low, high = ([building(seed, height=height) for seed in range(40)] for height in (5, 12))
    assert not any((shapes.part_N == BALCONY).any() for shapes in low)
    assert any((shapes.part_N == BALCONY).any() for shapes in high)
    for shapes in high:
        is_shop = shapes.style_N4[shapes.part_N == FACADE][0, 3] > 0
        assert is_shop or not (shapes.part_N == AWNING).any()
    assert any((shapes.part_N == AWNING).any() for shapes in high)


def test_houses_differ() -> None:
    roofs = [(building(seed).part_N == ROOF).any() for seed in range(40)]
    assert 12 < sum(roofs) < 36
