"""What stands and moves on road and sidewalk keeps to its place, and to its distance from all else."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.world.builder import Builder
from pipeline.world.plan import Plan
from pipeline.world.scene import CrossStreet, Label
from pipeline.world.streetlife import add_cars, add_furniture, add_people, add_street_trees

CROSS = CrossStreet(20.0, 3.5, 0)
SEEDS = range(5)
KERB = 0.12


def plan_of(*crosses: CrossStreet, zebras: tuple[float, ...] = (), sidewalk: float = 3.5, verge: float = 0.0) -> Plan:
    return Plan(4.0, crosses, (sidewalk, sidewalk), (verge, verge), zebras, KERB)


def objects(builder: Builder, *labels: Label) -> list[npt.NDArray[np.float32]]:
    """Corners [n, 3] of the shapes of each object that has one of these classes."""
    shapes = builder.primitives()
    instances = np.unique(shapes.instance_N[np.isin(shapes.label_N, labels)])
    return [shapes.corners_N83[shapes.instance_N == instance].reshape(-1, 3) for instance in instances]


def middles(found: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """(x, z) of the objects' middles."""
    return np.array([(corners[:, [0, 2]].min(axis=0) + corners[:, [0, 2]].max(axis=0)) / 2 for corners in found])


@pytest.mark.parametrize("seed", SEEDS)
def test_cars_keep_to_the_streets_and_apart(seed: int) -> None:
    builder = Builder(np.random.default_rng(seed))
    plan = plan_of(CROSS, zebras=(-6.0,))
    add_cars(builder, plan)
    cars = middles(objects(builder, Label.CAR))
    assert len(cars) > 5
    on_main, on_cross = np.abs(cars[:, 0]) < plan.half_width, np.abs(cars[:, 1] - CROSS.at) < CROSS.half_width
    assert (on_main | on_cross).all()
    for one, other in combinations(cars, 2):
        assert np.hypot(*(one - other)) > 2.0  # their circles of ground do not touch


def test_parked_cars_leave_zebras_and_corners_free() -> None:
    for seed in SEEDS:
        builder = Builder(np.random.default_rng(seed))
        add_cars(builder, plan_of(CROSS, zebras=(-6.0,)))
        cars = middles(objects(builder, Label.CAR))
        parked = cars[np.abs(np.abs(cars[:, 0]) - 2.9) < 0.3]
        assert (np.abs(parked[:, 1] + 6) > 4).all()


def test_nothing_takes_the_place_of_the_eye() -> None:
    for seed in SEEDS:
        builder = Builder(np.random.default_rng(seed))
        plan = plan_of(CROSS, zebras=(6.0,))
        plan.reserve(0.0, 0.0, 1.7)
        add_furniture(builder, plan)
        add_cars(builder, plan)
        add_street_trees(builder, plan)
        add_people(builder, plan, (0.0, -1.6, 0.0))
        shapes = builder.primitives()
        standing = shapes.label_N != Label.VEGETATION  # crowns may reach over
        away = np.hypot(shapes.centre_N3[standing, 0], shapes.centre_N3[standing, 2])
        assert away.min() > 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_furniture_stands_behind_the_kerb_and_not_in_the_mouth_of_a_street(seed: int) -> None:
    builder = Builder(np.random.default_rng(seed))
    plan = plan_of(CROSS)
    add_furniture(builder, plan)
    assert len(plan.taken) > 20
    for x, z, _ in plan.taken:
        assert plan.half_width < abs(x) < plan.half_width + 1
        assert abs(z - CROSS.at) > CROSS.half_width
    labels = builder.primitives().label_N
    assert np.isin((Label.POLE, Label.TRAFFIC_SIGN, Label.FENCE), labels).all()


@pytest.mark.parametrize(("zebras", "some"), [((), False), ((-7.0,), True)])
def test_traffic_lights_belong_to_zebra_crossings(zebras: tuple[float, ...], some: bool) -> None:
    builder = Builder(np.random.default_rng(0))
    add_furniture(builder, plan_of(zebras=zebras))
    lights = objects(builder, Label.TRAFFIC_LIGHT)
    assert bool(lights) == some
    for x, z in middles(lights) if some else ():
        assert abs(z + 7) < 4 and 2 < abs(x) < 6  # an arm may reach over the road


def test_trees_stand_in_rows_where_the_sidewalk_has_room_for_them() -> None:
    trees = [0, 0]
    for seed in SEEDS:
        for wide, width in enumerate((2.4, 3.5)):
            builder = Builder(np.random.default_rng(seed))
            builder.ids, builder.numbers = [], []
            plan = plan_of(CROSS, sidewalk=width)
            add_street_trees(builder, plan)
            trees[wide] += len(plan.taken)
            for x, z, _ in plan.taken:
                assert plan.half_width < abs(x) < plan.front(1 if x > 0 else -1)
                assert abs(z - CROSS.at) > CROSS.half_width and abs(z) > 2.5
    assert trees[0] == 0 and trees[1] > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_people_stand_on_the_sidewalk_raised_and_on_the_road_not(seed: int) -> None:
    builder = Builder(np.random.default_rng(seed))
    plan = plan_of(zebras=(6.0,))
    add_people(builder, plan, (0.0, -1.6, 0.0))
    people = objects(builder, Label.PERSON)
    assert len(people) >= 5
    for corners in people:
        x = abs((corners[:, 0].min() + corners[:, 0].max()) / 2)
        level = KERB if x > plan.half_width + 0.5 else 0.0 if x < plan.half_width - 1 else None
        if level is not None:
            assert -corners[:, 1].max() == pytest.approx(level, abs=0.1)


def test_people_do_not_stand_inside_each_other() -> None:
    for seed in SEEDS:
        builder = Builder(np.random.default_rng(seed))
        plan = plan_of(zebras=(6.0,))
        add_people(builder, plan, (0.0, -1.6, 0.0))
        for (ax, az, _), (bx, bz, _) in combinations(plan.taken, 2):
            assert np.hypot(ax - bx, az - bz) >= 0.6
        assert len(objects(builder, Label.PERSON)) == len(plan.taken)
