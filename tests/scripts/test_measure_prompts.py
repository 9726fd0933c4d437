"""The comparison of SAM's prompts: its table, and that its rows can be run."""

from __future__ import annotations

import numpy as np

from pipeline.classes import DENSEPASS_13
from scripts.measure_fusion import Scores, score
from scripts.measure_prompts import ROWS, Measured, table
from stages.runs import open_recipe

POLE, CAR = DENSEPASS_13.names.index("pole"), DENSEPASS_13.names.index("car")


def measured(cars: int, masks: float) -> Measured:
    """A road with poles that are found, and a car of which some columns are."""
    truth_HW = np.zeros((10, 20), np.uint8)
    truth_HW[:, :2], truth_HW[:, 10:20] = POLE, CAR
    found_HW = np.where((truth_HW == CAR) & (np.arange(20) >= 10 + cars), 0, truth_HW).astype(np.uint8)
    scores = Scores()
    score(scores, truth_HW, found_HW, np.ones(truth_HW.shape, np.bool_), len(DENSEPASS_13))
    return Measured(scores, masks)


def test_rows_are_settings_of_the_demos_recipe() -> None:
    asked = [open_recipe("demo", settings).sam.prompts_further for settings in ROWS.values()]
    assert asked == [False, True, False, True, True]


def test_the_table_has_thin_classes_and_cars_apart() -> None:
    lines = table({"grid": measured(5, 140), "things": measured(10, 150)}, DENSEPASS_13).splitlines()
    assert lines[2].startswith("| grid | 140 |") and lines[2].endswith("| 100.0 | 50.0 |")
    assert lines[3].startswith("| things | 150 | 100.0 |") and lines[3].endswith("| 100.0 | 100.0 | 100.0 |")
