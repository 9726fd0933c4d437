"""Rank correlations of scores of doubt with what is wrong in a map."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.classes import DENSEPASS_13, IGNORE
from scripts.measure_doubt import correlation, differing, of_students, own_doubt, table
from stages.predictor import StudentPredictor


class Says:
    """A student that is as sure of one class everywhere."""

    label_set = DENSEPASS_13

    def __init__(self, label: int, sure: float) -> None:
        self.label, self.sure = label, sure

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        logits_Chw = np.zeros((len(DENSEPASS_13), 4, 8), np.float32)
        logits_Chw[self.label] = np.log(self.sure / (1 - self.sure) * (len(DENSEPASS_13) - 1))
        return logits_Chw


def test_ranks_correlate_as_scipy_says_and_less_surely_in_noise() -> None:
    rng = np.random.default_rng(1)
    one_N = rng.normal(size=24)
    same, noisy = np.exp(one_N), one_N + rng.normal(size=24)
    assert correlation(list(one_N), list(same)) == pytest.approx((1, 1, 1))
    found, low, high = correlation(list(one_N), list(noisy))
    assert found == pytest.approx(spearmanr(one_N, noisy)[0])
    assert low < found < high < 1


def test_what_differs_counts_by_solid_angle_and_only_where_it_is_counted() -> None:
    one_HW = np.zeros((4, 8), np.uint8)
    pole_HW, equator_HW = one_HW.copy(), one_HW.copy()
    pole_HW[0], equator_HW[1] = 1, 1
    everywhere_HW = np.ones_like(one_HW, bool)
    at_pole, at_equator = (differing(one_HW, other, everywhere_HW) for other in (pole_HW, equator_HW))
    assert at_pole == pytest.approx((1 - np.cos(np.pi / 4)) / 2) and at_equator == pytest.approx(0.5 - at_pole)
    assert differing(one_HW, pole_HW, pole_HW == 0) == 0


def test_students_are_judged_by_their_own_doubt_and_by_each_other() -> None:
    students = cast("list[StudentPredictor]", [Says(2, 0.8), Says(2, 0.9), Says(3, 0.9)])
    truth_HW = np.full((16, 32), 2, np.uint8)
    truth_HW[:8], truth_HW[8:12] = 3, IGNORE
    errors: dict[str, list[float]] = {}
    scores = of_students(students, np.zeros((16, 32, 3), np.uint8), truth_HW, errors)
    assert scores == pytest.approx({"the student's doubt": 0.2, "students differ": 0.5}, rel=1e-5)
    below = (1 - np.cos(np.pi / 4)) / 2  # of the sphere: the lowest quarter of the rows, which is right
    assert errors == {"student": [pytest.approx(0.5 / (0.5 + below))]}
    assert own_doubt(np.full((4, 8), 0.75)) == pytest.approx(0.25)


def test_the_table_has_every_score_and_what_it_is_compared_with() -> None:
    text = table({"doubt": [*range(9)]}, {"student": [*range(9)], "ensemble": [*range(9, 0, -1)]})
    assert "| score | with what is wrong in the student | with what is wrong in the ensemble |" in text
    assert "| doubt | 1.00 (" in text and "| -1.00 (" in text
