"""Counting what differs between two generators' masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scripts.compare_masks import HEAD, SIDE, Count, windows_of


def record(*pixels: int, score: float = 0.9) -> dict[str, Any]:
    """A mask of some of ten pixels in a row."""
    mask_HW = np.zeros((1, 10), np.bool_)
    mask_HW[0, list(pixels)] = True
    box = [min(pixels), 0, max(pixels) - min(pixels), 0] if pixels else [0, 0, 0, 0]
    return {"segmentation": mask_HW, "bbox": box, "predicted_iou": score, "stability_score": 0.5}


def test_everything_that_differs_is_counted_once() -> None:
    count = Count()
    count.add([record(1, 2), record(), record(3)], [record(1, 2), record(), record(3, score=0.9 + 2e-5)])
    assert count == Count(windows=1, masks=3, other_scores=1, overlap=3.0)
    count.add([record(1, 2, 3, 4)], [record(1, 2, 3, 5, score=0.9 + 1e-6)])
    expected = Count(windows=2, masks=4, other_masks=1, pixels=2, other_boxes=1, other_scores=1, overlap=count.overlap)
    assert count == expected
    assert count.overlap == pytest.approx(3.6)
    count.add([record(1)], [])
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
