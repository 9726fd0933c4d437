"""How far label maps of a panorama agree: by solid angle, without what has no class, there and back as JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE
from stages.report.agreement import Agreement

HEIGHT, WIDTH, CLASSES = 16, 32, 3


def halves(above: int, below: int) -> LabelArray:
    labels_HW = np.full((HEIGHT, WIDTH), above, np.uint8)
    labels_HW[HEIGHT // 2 :] = below
    return labels_HW


def test_maps_are_compared_with_the_labels_where_both_have_a_class() -> None:
    maps = {"labels": halves(0, 1), "same": halves(0, 1), "other": halves(0, 2), "half": halves(IGNORE, 2),
            "nothing": halves(IGNORE, 200)}  # fmt: skip
    found = Agreement.of(maps, CLASSES, 180)
    assert found.differs == {"same": 0, "other": pytest.approx(0.5), "half": 1}, (
        "where nothing is shared nothing is said"
    )
    assert found.truth == {}


def test_maps_that_are_the_same_differ_by_nothing_and_not_by_less() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        labels_HW = random.integers(0, 13, (HEIGHT, WIDTH)).astype(np.uint8)
        assert Agreement.of({"labels": labels_HW, "same": labels_HW}, 13, 180).differs["same"] >= 0


def test_rows_near_the_poles_count_less() -> None:
    polar = halves(0, 1)
    polar[:4] = 2  # a quarter of the rows, down to 45 degrees
    found = Agreement.of({"labels": halves(0, 1), "polar": polar}, CLASSES, 180)
    assert found.differs["polar"] == pytest.approx((1 - math.sin(math.radians(45))) / 2, abs=1e-6)
    band = Agreement.of({"labels": halves(0, 1), "polar": polar}, CLASSES, 30)
    assert band.differs["polar"] == pytest.approx(0.25, abs=0.01), "in a band around the horizon all rows are alike"


def test_every_other_map_is_measured_by_the_truth() -> None:
    maps = {"labels": halves(0, 1), "truth": halves(0, 2), "student": halves(IGNORE, 2)}
    found = Agreement.of(maps, CLASSES, 180)
    assert set(found.truth) == {"labels", "student"} and found.differs["truth"] == pytest.approx(0.5)
    assert found.truth["labels"].accuracy == pytest.approx(0.5) and found.truth["labels"].coverage == pytest.approx(1)
    assert found.truth["student"].accuracy == pytest.approx(1) and found.truth["student"].coverage == pytest.approx(0.5)


@pytest.mark.parametrize("maps", [{}, {"labels": halves(0, 1)}, {"student": halves(0, 1), "masks": halves(0, 1)}])
def test_without_two_maps_to_compare_there_is_nothing(maps: dict[str, LabelArray]) -> None:
    assert Agreement.of(maps, CLASSES, 180) == Agreement()


def test_what_was_counted_comes_back_from_json() -> None:
    maps = {"labels": halves(0, 1), "truth": halves(0, 2), "student": halves(IGNORE, 2)}
    found = Agreement.of(maps, CLASSES, 180)
    again = Agreement.from_record(json.loads(json.dumps(found.record())), CLASSES)
    assert again.differs == found.differs and again.truth.keys() == found.truth.keys()
    for key, matrix in found.truth.items():
        np.testing.assert_allclose(again.truth[key].matrix, matrix.matrix)
        np.testing.assert_allclose(again.truth[key].uncovered, matrix.uncovered)


def test_a_record_of_more_classes_is_refused() -> None:
    record = Agreement.of({"labels": halves(0, 2), "truth": halves(0, 2)}, CLASSES, 180).record()
    with pytest.raises(IndexError):
        Agreement.from_record(record, 2)
