"""A street's plan: where lots, blocks, junctions and zebras lie, and that no ground is taken twice."""

from __future__ import annotations

import pytest

from pipeline.world.plan import Plan
from pipeline.world.scene import CrossStreet

CROSSING = CrossStreet(at=30.0, half_width=5.0, side=0)
LEFT = CrossStreet(at=-20.0, half_width=4.0, side=-1)
RIGHT = CrossStreet(at=-60.0, half_width=3.0, side=1)


@pytest.fixture
def plan() -> Plan:
    """A road of eight metres; on the left (x < 0) a sidewalk of two metres, on the right one of three."""
    return Plan(half_width=4.0, crosses=(CROSSING, LEFT, RIGHT), sidewalks=(2.0, 3.0), verges=(0.0, 0.0),
                zebras=(10.0,), kerb=0.15)  # fmt: skip


def test_lots_begin_behind_the_sidewalk_of_their_side(plan: Plan) -> None:
    assert (plan.sidewalk(-1), plan.sidewalk(1)) == (2.0, 3.0)
    assert (plan.front(-1), plan.front(1)) == (6.0, 7.0)


def test_a_side_has_the_streets_that_leave_towards_it_by_their_place(plan: Plan) -> None:
    assert plan.crosses_on(-1) == [LEFT, CROSSING]
    assert plan.crosses_on(1) == [RIGHT, CROSSING]


def test_blocks_end_a_sidewalk_before_each_cross_street(plan: Plan) -> None:
    assert plan.block_edges(-1) == [-20 - 4 - 2, -20 + 4 + 2, 30 - 5 - 2, 30 + 5 + 2]
    assert plan.block_edges(1) == [-60 - 3 - 3, -60 + 3 + 3, 30 - 5 - 3, 30 + 5 + 3]


@pytest.mark.parametrize(
    ("z", "margin", "inside"),
    [(30, 0, True), (34.9, 0, True), (35, 0, False), (35, 1, True), (36.1, 1, False), (-20, 0, True), (0, 0, False)],
)
def test_a_junction_reaches_as_far_as_its_road_and_the_margin(
    plan: Plan, z: float, margin: float, inside: bool
) -> None:
    assert plan.in_junction(z, margin) is inside


@pytest.mark.parametrize(("z", "on"), [(10, True), (11.9, True), (8.1, True), (12, False), (30, False)])
def test_a_zebra_reaches_as_far_as_the_margin(plan: Plan, z: float, on: bool) -> None:
    assert plan.on_zebra(z, 2.0) is on


def test_ground_is_taken_once(plan: Plan) -> None:
    assert plan.claim(0, 0, 1)
    assert not plan.is_free(1.5, 0, 1)
    assert not plan.claim(1.5, 0, 1)
    assert plan.claim(2, 0, 1)  # the circles touch
    assert plan.taken == [(0, 0, 1), (2, 0, 1)]


def test_ground_can_be_reserved_over_what_is_taken(plan: Plan) -> None:
    plan.reserve(0, 0, 1)
    plan.reserve(0.5, 0, 3)
    assert not plan.claim(0, 3.4, 0.5)
    assert plan.claim(0, 3.4, 0.4)


def test_plans_share_no_ground() -> None:
    one, other = (Plan(4.0, (), (2.0, 2.0), (0.0, 0.0), (), 0.15) for _ in range(2))
    assert one.claim(0, 0, 1) and other.claim(0, 0, 1)
