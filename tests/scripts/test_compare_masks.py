"""Counting what differs between two generators' masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet
from scripts.compare_masks import HEAD, SIDE, Count, compare, windows_of


def masks(*pixels: tuple[int, ...], score: float = 0.9) -> MaskSet:
    """A mask for each set of some of ten pixels in a row; the last has the score."""
    masks_MHW = np.zeros((len(pixels), 1, 10), np.bool_)
    for mask_HW, own in zip(masks_MHW, pixels, strict=True):
        mask_HW[0, list(own)] = True
    return MaskSet.from_dense(masks_MHW, [0.9] * (len(pixels) - 1) + [score] * bool(pixels), [0.5] * len(pixels))


def test_everything_that_differs_is_counted_once() -> None:
    count = Count()
    count.add(masks((1, 2), (), (3,)), masks((1, 2), (), (3,), score=0.9 + 2e-5))
    assert count == Count(windows=1, masks=3, other_scores=1, overlap=3.0)
    count.add(masks((1, 2, 3, 4)), masks((1, 2, 3, 5), score=0.9 + 1e-6))
    expected = Count(windows=2, masks=4, other_masks=1, pixels=2, other_boxes=1, other_scores=1, overlap=count.overlap)
    assert count == expected
    assert count.overlap == pytest.approx(3.6)
    count.add(masks((1,)), masks())
    assert (count.windows, count.other_number, count.masks) == (3, 1, 4)
    row = count.row("all")
    assert row == "| all | 3 | 1 | 4 | 1 | 2 | 1 | 1 | 0.90000 |"
    assert row.count("|") == HEAD.count("|")


def test_windows_come_from_the_folders_in_turn(tmp_path: Path) -> None:
    for folder, grey in (("a", 10), ("b", 200)):
        (tmp_path / folder).mkdir()
        Image.new("L", (SIDE, SIDE + 3), grey).save(tmp_path / folder / "x.png")
    windows = windows_of([tmp_path / "a", tmp_path / "b"], 3)
    assert [int(window.mean()) for window in windows] == [10, 200, 10]
    assert {window.shape for window in windows} == {(SIDE, SIDE, 3)}


def test_both_generators_are_asked_with_the_same_settings() -> None:
    window = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    config = SamConfig(points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    count = compare([window], config)
    assert (count.windows, count.other_number, count.masks) == (1, 0, 12)
    assert count.overlap == pytest.approx(12, abs=0.1)
