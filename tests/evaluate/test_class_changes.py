"""Gains and losses class by class, with intervals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pipeline.evaluate.class_changes import ClassChange, changes_of, changes_record, class_changes
from pipeline.evaluate.report import to_json

NAMES = ("road", "pole", "train")


def before_and_after() -> tuple[np.ndarray, np.ndarray]:
    """Six panoramas without a train: the road gains in three of them, poles lose in all."""
    before = np.array([[[80, 20, 0], [0, 50, 0], [0, 0, 0]]] * 6)
    after = np.array([[[90, 10, 0], [25, 25, 0], [0, 0, 0]]] * 3 + [[[60, 40, 0], [25, 25, 0], [0, 0, 0]]] * 3)
    return before, after


def test_a_class_changes_by_the_iou_of_all_panoramas_together() -> None:
    road, pole, train = class_changes(NAMES, *before_and_after())
    assert (road.name, road.before, road.after) == ("road", 0.8, pytest.approx(450 / 750))
    assert pole.change == pytest.approx(150 / (300 + 150) - 300 / (300 + 120))
    assert pole.is_loss and pole.interval[1] < 0
    assert math.isnan(train.before) and math.isnan(train.change) and not train.is_loss
    assert math.isnan(train.interval[0])


def test_a_change_that_depends_on_the_panoramas_is_no_sure_loss() -> None:
    before, after = before_and_after()
    after[3:, 0] = 40, 60, 0
    after[:3, 0] = 100, 0, 0
    after[:, 1] = 0, 50, 0
    road = class_changes(NAMES, before, after)[0]
    assert road.change < 0 < road.interval[1] and not road.is_loss


def test_changes_read_back_from_strict_json() -> None:
    changes = class_changes(NAMES, *before_and_after())
    record = json.loads(to_json(changes_record("assistant_blend", "ensemble", changes)))
    assert (record["from"], record["to"]) == ("assistant_blend", "ensemble")
    read = changes_of(record)
    assert read[:2] == changes[:2]
    assert read[2].name == "train" and math.isnan(read[2].interval[1])
    assert isinstance(read[0], ClassChange)
