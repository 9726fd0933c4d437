"""Street furniture: posts of their own class, and what hangs on them, facing the road."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipeline.world.objects.furniture import (
    HOUSING,
    PLATE,
    add_board,
    add_bollard,
    add_lamp_post,
    add_post,
    add_sign,
    add_traffic_light,
)
from pipeline.world.scene import Cutout, Label, Material, Primitives
from tests.world.objects.built import SEEDS, Add, built, extent, require_one_object


def heads_or_plates(shapes: Primitives, label: Label) -> list[np.ndarray]:
    """Flags of the shapes of each thing of a class."""
    return [shapes.instance_N == one for one in np.unique(shapes.instance_N[shapes.label_N == label])]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_post_is_as_high_as_it_is_told_and_returns_its_owner(seed: int) -> None:
    owners: list[tuple[Label, int]] = []
    shapes = built(lambda builder, frame: owners.append(add_post(builder, frame, 3.0, 0.1)), seed)
    require_one_object(shapes, Label.POLE)
    assert owners == [(Label.POLE, int(shapes.instance_N[0]))]
    assert extent(shapes)[1][1] == pytest.approx(3.0, abs=1e-4)
    assert extent(shapes)[0] == pytest.approx((-0.15, 0.15), abs=1e-4)


@pytest.mark.parametrize(("add", "lowest", "highest"), [(add_lamp_post, 4.5, 9.2), (add_bollard, 0.7, 1.3)])
@pytest.mark.parametrize("seed", SEEDS)
def test_lamp_posts_and_bollards_are_poles(add: Add, lowest: float, highest: float, seed: int) -> None:
    shapes = built(add, seed)
    require_one_object(shapes, Label.POLE)
    assert lowest <= extent(shapes)[1][1] <= highest


def test_a_lamps_arm_reaches_along_z_or_there_is_a_lantern_on_top() -> None:
    reaches = [extent(built(add_lamp_post, seed)) for seed in SEEDS]
    assert all(left > -0.3 and right < 0.3 and back > -0.3 for (left, right), _, (back, _) in reaches)
    assert {front > 0.8 for _, _, (_, front) in reaches} == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
def test_plates_are_things_of_their_own_in_front_of_their_pole(seed: int) -> None:
    shapes = built(add_sign, seed)
    assert set(shapes.label_N.tolist()) == {Label.POLE, Label.TRAFFIC_SIGN}
    plates = heads_or_plates(shapes, Label.TRAFFIC_SIGN)
    assert len(plates) in (1, 2)
    for plate in plates:
        assert shapes.part_N[plate] == PLATE and shapes.material_N[plate] == Material.SIGN
        assert extent(shapes, plate)[2][1] < extent(shapes, shapes.label_N == Label.POLE)[2][0] + 0.1
        assert extent(shapes, plate)[1][0] > 0.5
    tops = [extent(shapes, plate)[1] for plate in plates]
    assert all(upper[0] > lower[1] for upper, lower in pairwise(tops)), "none lies on another"


def test_plates_have_many_shapes() -> None:
    found = {Cutout(int(cutout)) for seed in range(40) for cutout in built(add_sign, seed).cutout_N}
    assert found == {Cutout.NONE, Cutout.DISC, Cutout.TRIANGLE, Cutout.OCTAGON, Cutout.DIAMOND}


@pytest.mark.parametrize("seed", SEEDS)
def test_traffic_lights_have_one_to_three_heads_above_peoples(seed: int) -> None:
    shapes = built(add_traffic_light, seed)
    assert set(shapes.label_N.tolist()) == {Label.POLE, Label.TRAFFIC_LIGHT}
    heads = heads_or_plates(shapes, Label.TRAFFIC_LIGHT)
    assert 1 <= len(heads) <= 3
    for head in heads:
        (housing,) = np.flatnonzero(head & (shapes.part_N == HOUSING) & (shapes.material_N == Material.LIGHT_HOUSING))
        lamps, lit, radius, _ = shapes.style_N4[housing].tolist()
        assert lamps in (2, 3) and 0 <= lit < lamps and radius < shapes.half_N3[housing][0]
        assert extent(shapes, head)[1][0] > 1.5
    assert extent(shapes)[0][1] < 0.6, "an arm reaches over the road, which is to the left"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_board_hangs_on_two_poles(seed: int) -> None:
    shapes = built(add_board, seed)
    assert len(heads_or_plates(shapes, Label.POLE)) == 2
    (board,) = heads_or_plates(shapes, Label.TRAFFIC_SIGN)
    (left, right), (low, _), _ = extent(shapes, board)
    assert right == pytest.approx(-left, abs=1e-4) and right - left > 1.8 and low > 1.5
    for pole in heads_or_plates(shapes, Label.POLE):
        assert left < extent(shapes, pole)[0][0] and extent(shapes, pole)[0][1] < right
