"""People: one thing each, of a person's height, with their parts where a body has them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.world.objects.people import (
    ARM_LEFT,
    ARM_RIGHT,
    BAG,
    HAIR,
    HEAD,
    LEG_LEFT,
    LEG_RIGHT,
    SHOE_LEFT,
    SHOE_RIGHT,
    SKIRT,
    TORSO,
    add_person,
)
from pipeline.world.scene import Label, Primitives
from tests.world.objects.built import SEEDS, built, extent, require_one_object


def middle(shapes: Primitives, part: int) -> tuple[float, float, float]:
    """(To the right, up, forward), metres."""
    x, up, z = ((least + most) / 2 for least, most in extent(shapes, shapes.part_N == part))
    return x, up, z


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_where_a_body_has_them(seed: int) -> None:
    shapes = built(add_person, seed)
    require_one_object(shapes, Label.PERSON)
    for left, right in ((ARM_LEFT, ARM_RIGHT), (LEG_LEFT, LEG_RIGHT), (SHOE_LEFT, SHOE_RIGHT)):
        assert middle(shapes, left)[0] < 0 < middle(shapes, right)[0]
    for leg, shoe in ((LEG_LEFT, SHOE_LEFT), (LEG_RIGHT, SHOE_RIGHT)):
        heights = [middle(shapes, part)[1] for part in (HAIR, HEAD, TORSO, leg, shoe)]
        assert heights == sorted(heights, reverse=True)


def test_they_are_as_tall_as_people() -> None:
    heights = [extent(built(add_person, seed))[1][1] for seed in range(200)]
    assert min(heights) > 1.35 and max(heights) < 2.06
    assert 1.65 < np.median(heights) < 1.95


def test_some_stand_and_some_walk_with_arms_against_legs() -> None:
    """Someone walking has one shoe before the other, and that side's arm behind."""
    steps: list[tuple[float, float]] = []
    for seed in range(60):
        shapes = built(add_person, seed)
        shoes = middle(shapes, SHOE_RIGHT)[2] - middle(shapes, SHOE_LEFT)[2]
        steps.append((shoes, middle(shapes, ARM_LEFT)[2] - middle(shapes, ARM_RIGHT)[2]))
    walking = [(shoes, arms) for shoes, arms in steps if abs(shoes) > 0.25]
    assert 20 < len(walking) < 55
    against = sum(shoes * arms > 0 for shoes, arms in walking)
    assert against > 0.75 * len(walking), "but for arms that are raised"


def test_some_have_skirts_or_bags() -> None:
    parts = [set(built(add_person, seed).part_N.tolist()) for seed in range(100)]
    for part, least, most in ((SKIRT, 10, 45), (BAG, 22, 60)):
        assert least < sum(part in own for own in parts) < most
