"""The measurement of SAM's views: its figures, and that its ways are settings that a recipe accepts."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.ensemble.config import FusionConfig
from pipeline.teacher.config import SamConfig
from scripts.measure_sam_views import WAYS, needless_edges, table


def test_every_way_is_a_value_of_the_settings() -> None:
    for shown, settings in WAYS.values():
        assert SamConfig(shown=shown).shown == shown
        assert FusionConfig(**settings).join in (0.0, settings.get("join"))


def test_needless_edges_are_counted_at_the_seam_at_frames_and_elsewhere() -> None:
    truth = np.zeros((4, 16), np.uint8)
    truth[:, 6:9] = 1  # true edges at 6 and 9 are needed
    labels = truth.copy()
    labels[:2, 0] = 2  # at the seam, which is a frame, and at column 1
    labels[:, 12:] = 3  # at a frame; the seam's other rows differ, too
    found = needless_edges(labels, truth, stride=4)
    assert found["seam"] == 1.0
    assert found["frames"] == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert found["elsewhere"] == pytest.approx(0.5 / 12)


def test_the_table_has_a_line_for_every_row() -> None:
    row = {"SAM is shown": "windows", "pictures": 24, "masks": 82.0, "ensemble": [69.21, 93.56],
           "reliable": [97.9, 91.7], "oracle": [71.5, 95.7], "changed": None,
           "broken": {"seam": 0.651, "frames": 0.92, "elsewhere": 0.87}, "SAM, s": 5.1, "fusion, s": 0.31}  # fmt: skip
    assert table([row]).splitlines()[-1] == (
        "| windows | 24 | 82 | 69.2 / 93.6 | 97.9 / 91.7 | 71.5 / 95.7 | 0.65 / 0.92 / 0.87 |  | 5.1 / 0.3 |"
    )
