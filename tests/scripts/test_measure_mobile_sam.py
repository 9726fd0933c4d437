"""MobileSAM's time beside ViT-B's: medians by model and precision."""

from __future__ import annotations

import torch

from pipeline.teacher.demo_sam import SIZE, build_demo_sam
from scripts.measure_mobile_sam import seconds, table


def test_medians_are_told_part_by_part_and_together() -> None:
    found = {("vit_b", "float32"): [(5.0, 1.0), (7.0, 3.0), (6.0, 2.0)], ("vit_t", "bfloat16"): [(1.0, 0.5)]}
    assert table(found).splitlines()[2:] == ["| vit_b | float32 | 6.00 | 2.00 | 8.00 |",
                                             "| vit_t | bfloat16 | 1.00 | 0.50 | 1.50 |"]  # fmt: skip


def test_embedding_and_prompts_are_timed_apart() -> None:
    embedding, prompts = seconds(build_demo_sam(), torch.float32, torch.zeros(1, 3, SIZE, SIZE), torch.ones(3, 2))
    assert embedding > 0 and prompts > 0
