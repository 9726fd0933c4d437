"""The comparison of assistants: what is called reliable is compared on as many pixels, and its table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.classes import LabelSet
from pipeline.ensemble.compose import Fusion
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.controls import FusionInput
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import window_grid
from pipeline.pretrained import DEMO
from pipeline.teacher.masks import MaskSet
from scripts.measure_assistants import AGREED, ONE, ROWS, RowScores, rows_of, run_of_two, table
from scripts.measure_fusion import ALL_SCENES
from stages.runs import Run

TWO = LabelSet("two", ("road", "sky"), ((0, 0, 0),) * 2, thin=())
WINDOWS = window_grid(32, 64, WindowConfig(32, 64, 32, 64))
TRUTH = np.zeros((32, 64), np.uint8)


def scores(reliable_columns: int) -> RowScores:
    """Of a panorama whose right half is labelled wrongly, with little confidence."""
    confidence_HW = np.where(np.arange(64) < 32, 0.9, 0.6).astype(np.float32) * np.ones((32, 1), np.float32)
    one, no = np.ones(TRUTH.shape, np.float32), np.zeros(TRUTH.shape, np.bool_)
    wrong = np.broadcast_to(np.arange(64) >= 32, TRUTH.shape)
    blend_CHW = np.where(wrong, np.stack([1 - confidence_HW, confidence_HW]),
                         np.stack([confidence_HW, 1 - confidence_HW])).astype(np.float32)  # fmt: skip
    masks = [MaskSet.from_dense(np.zeros((0, 32, 64), np.bool_))]
    known = FusionInput(blend_CHW, one, no, WINDOWS, masks, TWO, FusionConfig())
    reliable_HW = np.broadcast_to(np.arange(64) < reliable_columns, TRUTH.shape)
    found = RowScores()
    found.add(known, Fusion(wrong.astype(np.uint8), blend_CHW, reliable_HW), TRUTH)
    return found


def test_the_most_confident_reliable_pixels_are_compared() -> None:
    everything = scores(64)
    assert everything.right_at(32 * 32) == 1
    assert everything.right_at(64 * 32) == 0.5
    assert math.isnan(scores(16).right_at(32 * 32))


def test_rows_are_compared_at_the_coverage_of_agreement() -> None:
    found = rows_of({ONE: scores(64), AGREED: scores(32)}, TWO)
    assert [own["reliable coverage"] for own in found] == [100, 50]
    assert [own["right at equal coverage"] for own in found] == [100, 100]
    lines = table(found).splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1


def test_the_second_assistant_is_shown_what_the_first_is(tmp_path: Path) -> None:
    run = run_of_two_without_scenes(tmp_path)
    first, second = run.recipe.assistants
    assert Path(second.name) == DEMO / "student_start"
    assert (second.views_weight, second.window_scale) == (first.views_weight, first.window_scale)
    assert ROWS[AGREED].agree == len(run.recipe.assistants)


def run_of_two_without_scenes(folder: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ALL_SCENES, "none", ())
        return run_of_two("none", folder, DEMO / "student_start")
