"""The interval of mIoU over the choice of panoramas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.evaluate.bootstrap import (
    RESAMPLES,
    iou_change_intervals,
    miou_change_interval,
    miou_interval,
    ratio_change_interval,
)
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


def test_changes_are_paired_so_that_equal_predictions_leave_no_room() -> None:
    before, after = matrices(7), matrices(7, seed=1)
    drawn = np.random.default_rng(0).integers(0, 7, (RESAMPLES, 7))
    sums = [(before[rows].sum(axis=0), after[rows].sum(axis=0)) for rows in drawn]
    expected = np.quantile([miou(b) - miou(a) for a, b in sums], [0.025, 0.975])
    np.testing.assert_allclose(miou_change_interval(before, after), expected, rtol=1e-9)
    assert miou_change_interval(before, before) == (0, 0)
    assert iou_change_intervals(before, before) == [(0, 0)] * 3


def test_a_class_is_measured_in_the_resamples_that_have_it() -> None:
    before, after = matrices(4), matrices(4, seed=1)
    for each in (before, after):
        each[1:, 2], each[1:, :, 2] = 0, 0
    *_, (low, high) = iou_change_intervals(before, after)
    alone = [each[0, 2, 2] / (each[0, 2].sum() + each[0, :, 2].sum() - each[0, 2, 2]) for each in (before, after)]
    assert low <= alone[1] - alone[0] <= high and math.isfinite(low)


def test_a_share_changes_by_the_ratio_of_sums() -> None:
    right, all_of_them = np.array([50, 90, 10]), np.array([100, 100, 20])
    before, after = np.stack([right, all_of_them], axis=1), np.stack([right + 5, all_of_them], axis=1)
    low, high = ratio_change_interval(before, after)
    assert 0.0499 < low < 15 / 220 < high <= 0.25
    assert all(map(math.isnan, ratio_change_interval(before[:1], after[:1])))


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
