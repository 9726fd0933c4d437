"""The evidence that settings of fusion cannot be chosen without labels: its halves of windows and its table."""

from __future__ import annotations

import numpy as np

from pipeline.classes import DENSEPASS_13
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import window_grid
from pipeline.teacher.masks import MaskSet
from scripts.measure_tune_fusion import Row, Setting, halves, judge, report

HEIGHT, WIDTH = 32, 128
STRIPES = np.broadcast_to(np.arange(WIDTH) // 16 % 4, (HEIGHT, WIDTH))


def test_a_fusion_is_judged_by_the_masks_of_the_windows_that_it_did_not_use() -> None:
    windows = window_grid(HEIGHT, WIDTH, WindowConfig(32, 64, 32, 32))
    stripes = MaskSet.from_dense(np.stack([np.broadcast_to(np.arange(64) // 16 == k, (32, 64)) for k in range(4)]))
    both = halves(windows, [stripes] * len(windows))
    assert [sorted({view.footprint.column for view in half.views}) for half in both] == [[0, 64], [32, 96]]
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(STRIPES.shape) < 0.4, rng.integers(0, 4, STRIPES.shape), STRIPES)
    noisy_CHW = np.moveaxis(np.eye(13, dtype=np.float32)[labels], -1, 0)
    painted = judge(Setting(FusionConfig()), both, noisy_CHW, DENSEPASS_13)
    left = judge(Setting(FusionConfig(unreliable="keep", theta=0.9)), both, noisy_CHW, DENSEPASS_13)
    assert painted == 1 and left < 0.8
    assert judge(Setting(FusionConfig(), predicted_iou=2.0), both, noisy_CHW, DENSEPASS_13) == left


def test_the_table_says_how_far_a_setting_is_ahead_and_what_it_is_worth_in_truth() -> None:
    right, wrong = (Row(ConfusionMatrix(2), scores) for scores in ([0.5, 0.6], [0.7, 0.8]))
    right.truth.add(np.array([[0, 1]], np.uint8), np.array([[0, 1]], np.uint8))
    wrong.truth.add(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8))
    lines = report({"first": right, "other": wrong}).splitlines()
    assert lines[2] == "| first | 100.0 / 100.0 | 0.5500 | +0.0000 +- 0.0000 |"
    assert lines[3] == "| other | 25.0 / 50.0 | 0.7500 | +0.2000 +- 0.0000 |"
