"""The interval of mIoU over the choice of panoramas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluate.bootstrap import RESAMPLES, miou_interval
from pipeline.evaluate.ladder import Ladder, LadderInput


def matrices(count: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 50, (count, classes, classes))


def miou(matrix: np.ndarray) -> float:
    """By the definition, class by class."""
    found = [
        matrix[c, c] / (matrix[c].sum() + matrix[:, c].sum() - matrix[c, c])
        for c in range(len(matrix))
        if matrix[c].sum() + matrix[:, c].sum() > 0
    ]
    return float(np.mean(found))


def test_the_interval_is_that_of_resampled_and_summed_matrices() -> None:
    each = matrices(7)
    each[1:, 2], each[1:, :, 2] = 0, 0  # a class of one panorama alone: some resamples lack it
    drawn = np.random.default_rng(0).integers(0, 7, (RESAMPLES, 7))
    expected = np.quantile([miou(each[rows].sum(axis=0)) for rows in drawn], [0.025, 0.975])
    np.testing.assert_allclose(miou_interval(each), expected, rtol=1e-12)


def test_equal_panoramas_leave_no_room_and_more_panoramas_leave_less() -> None:
    same = np.repeat(matrices(1), 5, axis=0)
    assert miou_interval(same) == pytest.approx((miou(same[0]),) * 2)
    few, many = miou_interval(matrices(4)), miou_interval(matrices(64))
    assert many[1] - many[0] < few[1] - few[0]


@pytest.mark.parametrize("each", [matrices(1), np.zeros((3, 2, 2), np.int64)], ids=["one panorama", "nothing covered"])
def test_there_is_none_where_nothing_can_be_drawn(each: np.ndarray) -> None:
    assert all(math.isnan(end) for end in miou_interval(each))


def test_a_ladder_has_the_interval_and_the_figures_of_every_panorama() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    right, wrong = truth, np.array([[0, 1, 1, 1]], np.uint8)
    ladder = Ladder(2)
    for name, prediction in (("a", right), ("b", wrong)):
        ladder.add(LadderInput(truth, {"student": prediction}, name))
    (rung,) = ladder.rungs()
    assert rung.miou_interval[0] < rung.miou < rung.miou_interval[1] == 1
    (a, of_a), (b, of_b) = ladder.panoramas
    assert (a, b) == ("a", "b")
    assert (of_a["student"].miou, of_a["student"].pixel_accuracy) == (1, 1)
    assert of_b["student"].pixel_accuracy == 0.75
    assert of_b["student"].miou == pytest.approx((1 / 2 + 2 / 3) / 2)
