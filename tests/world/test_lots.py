"""Blocks are filled with lots from end to end, and each has its ground, its house or garden, and its barrier."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.world.builder import Builder
from pipeline.world.lots import DEPTH, Plot, fill_block, fill_cross_block
from pipeline.world.plan import Plan
from pipeline.world.scene import CrossStreet, Label

SEEDS = range(6)


def plan_of(*crosses: CrossStreet) -> Plan:
    return Plan(4.0, crosses, sidewalks=(2.5, 3.5), verges=(0, 0), zebras=(), kerb=0.1)


def filled(seed: int, side: int, span: tuple[float, float] = (-40.0, 40.0)) -> tuple[Builder, list[Plot]]:
    builder = Builder(np.random.default_rng(seed))
    return builder, fill_block(builder, plan_of(), side, span)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("seed", SEEDS)
def test_lots_of_a_block_lie_side_by_side_from_end_to_end_behind_the_sidewalk(seed: int, side: int) -> None:
    _, plots = filled(seed, side)
    plots.sort(key=lambda plot: plot.low[1])
    assert plots[0].low[1] == pytest.approx(-40) and plots[-1].high[1] == pytest.approx(40)
    for one, next_ in pairwise(plots):
        assert one.high[1] == pytest.approx(next_.low[1])
    front = {-1: 4 + 2.5, 1: 4 + 3.5}[side]
    for plot in plots:
        near, far = sorted((abs(plot.low[0]), abs(plot.high[0])))
        assert (near, far) == (pytest.approx(front), pytest.approx(front + DEPTH))
        assert np.sign(plot.low[0]) == np.sign(plot.high[0]) == side


def test_a_short_block_is_one_lot() -> None:
    (plot,) = filled(0, 1, (10.0, 18.0))[1]
    assert (plot.low[1], plot.high[1]) == (pytest.approx(10), pytest.approx(18))


def test_a_wall_and_a_fence_at_the_sidewalk_are_always_among_the_four_nearest_lots() -> None:
    for seed in range(20):
        shapes = filled(seed, 1)[0].primitives()
        at_front = shapes.centre_N3[:, 0] < plan_of().front(1) + 1
        for label in (Label.WALL, Label.FENCE):
            assert np.abs(shapes.centre_N3[at_front & (shapes.label_N == label), 2]).min() < 26


@pytest.mark.parametrize("side", [-1, 1])
def test_what_stands_on_lots_leaves_sidewalk_and_road_free(side: int) -> None:
    for seed in SEEDS:
        shapes = filled(seed, side)[0].primitives()
        inwards = side * shapes.centre_N3[:, 0] - plan_of().front(side)
        assert inwards[np.isin(shapes.label_N, (Label.WALL, Label.FENCE))].min() > 0
        assert inwards[shapes.label_N == Label.BUILDING].min() > -0.6  # steps and awnings


def test_a_paved_lot_has_neither_house_nor_barrier() -> None:
    paved = 0
    for seed in SEEDS:
        builder, plots = filled(seed, 1)
        shapes = builder.primitives()
        for plot in (plot for plot in plots if plot.paved):
            paved += 1
            x, z = shapes.centre_N3[:, 0], shapes.centre_N3[:, 2]
            inside = (x > plot.low[0]) & (x < plot.low[0] + 8) & (z > plot.low[1] + 1) & (z < plot.high[1] - 1)
            assert not np.isin(shapes.label_N[inside], (Label.BUILDING, Label.FENCE)).any()
    assert paved > 0


@pytest.mark.parametrize("side", [-1, 1])
def test_a_cross_street_has_three_lots_on_either_bank_beyond_the_corner(side: int) -> None:
    builder, cross = Builder(np.random.default_rng(1)), CrossStreet(20.0, 3.0, 0)
    plan = plan_of(cross)
    plots = fill_cross_block(builder, plan, cross, side)
    banks = [[plot for plot in plots if (plot.low[1] > cross.at) == beyond] for beyond in (False, True)]
    assert [len(bank) for bank in banks] == [3, 3]
    for plot in plots:
        assert min(abs(plot.low[0]), abs(plot.high[0])) > plan.front(side) + DEPTH - 1e-6
        assert np.sign(plot.low[0]) == side
        gap = min(abs(plot.low[1] - cross.at), abs(plot.high[1] - cross.at))
        assert gap == pytest.approx(cross.half_width + plan.sidewalk(side))
