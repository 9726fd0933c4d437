"""Groups of views are left out where they make the assistant less sure than the whole image does."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.arrays import FloatArray
from pipeline.tune.blends import SeenPart
from pipeline.tune.report import groups_table
from pipeline.tune.sureness import Sureness, compare, less_sure, sureness

CLASSES = 4


def said(*highest: float) -> FloatArray:
    """Probabilities of pixels whose first class has these; the others share the rest."""
    of_first = np.array(highest, np.float32)
    others = (1 - of_first) / (CLASSES - 1)
    return np.stack([of_first, *[others] * (CLASSES - 1)]).astype(np.float32)


def weights(*values: float) -> FloatArray:
    return np.array(values, np.float32)


def test_certainty_is_1_and_all_classes_alike_are_0() -> None:
    seen = {"whole": SeenPart(said(1, 0.25), weights(1, 1)), "up": SeenPart(said(0.25, 1), weights(0.5, 0))}
    found = sureness(seen, np.ones(2))
    assert found.of_group["up"] == pytest.approx(0, abs=1e-6)
    assert found.of_whole["up"] == pytest.approx(1, abs=1e-6)
    assert less_sure(compare([found, found])) == ("up",)


def test_a_group_is_compared_with_the_whole_image_only_where_it_sees_something_by_solid_angle() -> None:
    seen = {
        "whole": SeenPart(said(0.7, 0.7, 1), weights(1, 1, 1)),
        "down": SeenPart(said(0.6, 0.9, 0), weights(1, 1, 0)),
    }
    assert less_sure(compare([sureness(seen, np.array([1.0, 3.0, 9.0]))] * 2)) == ()
    assert less_sure(compare([sureness(seen, np.array([9.0, 1.0, 9.0]))] * 2)) == ("down",)


def test_a_group_that_sees_nothing_that_is_scored_is_not_judged() -> None:
    seen = {"whole": SeenPart(said(0.7), weights(1)), "nadir": SeenPart(said(0.25), weights(0))}
    found = sureness(seen, np.ones(1))
    assert found.of_group == {} and compare([found]) == {}
    assert "no perspective view" in groups_table({})


def test_panoramas_of_which_a_group_sees_nothing_do_not_count() -> None:
    surely, hardly = Sureness({"level": 0.9, "up": 0.8}, {"level": 0.8, "up": 0.9}), Sureness({"up": 0.3}, {"up": 0.5})
    groups = compare([surely, hardly])
    assert groups["level"][:2] == (0.9, 0.8) and groups["up"][:2] == pytest.approx((0.55, 0.7))
    assert less_sure(groups) == ("up",)
    lines = groups_table(groups).splitlines()
    assert "| level | 0.900 | 0.800 | unknown |  |" in lines and "| up | 0.550 | 0.700 | 0.050 | left out |" in lines


@pytest.mark.parametrize(
    ("of_views", "left_out"), [((0.1,), ()), ((0.6, 0.62), ("up",)), ((0.5, 0.85), ()), ((0.8, 0.9), ())]
)
def test_a_group_is_left_out_where_it_is_less_sure_by_more_than_the_standard_error(
    of_views: tuple[float, ...], left_out: tuple[str, ...]
) -> None:
    panoramas = [Sureness({"up": sure}, {"up": 0.7}) for sure in of_views]
    assert less_sure(compare(panoramas)) == left_out
