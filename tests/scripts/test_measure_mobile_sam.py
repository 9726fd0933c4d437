"""MobileSAM's time beside ViT-B's: medians by model and precision."""

from __future__ import annotations

import torch

from pipeline.teacher.demo_sam import SIZE, build_demo_sam
from scripts.measure_mobile_sam import PARTS, THINGS, seconds, table


def test_medians_are_told_part_by_part() -> None:
    found = {("vit_b", "float32"): [[5.0, 1.0, 0.1, 4.0], [7.0, 3.0, 0.3, 6.0], [6.0, 2.0, 0.2, 5.0]],
             ("vit_t", "bfloat16"): [[1.0, 0.5, 0.1, 0.2]]}  # fmt: skip
    assert table(found).splitlines()[2:] == ["| vit_b | float32 | 6.00 | 2.00 | 0.20 | 5.00 |",
                                             "| vit_t | bfloat16 | 1.00 | 0.50 | 0.10 | 0.20 |"]  # fmt: skip


def test_parts_are_timed_apart() -> None:
    points_P2 = torch.rand(2 * THINGS, 2) * SIZE
    found = seconds(build_demo_sam(), torch.float32, torch.zeros(1, 3, SIZE, SIZE), points_P2)
    assert len(found) == len(PARTS) and min(found) > 0
