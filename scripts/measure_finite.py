"""What it costs to look for NaN and infinity in the outputs of networks.

    python -m scripts.measure_finite

The demo's student on a panorama of 1024x512, its assistant on four windows of 384x384 with features, its SAM on one
of 256x256, in one process on one thread, medians of CPU time: the work, and how much of it the looks take.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import torch

from pipeline.classes import DENSEPASS_13
from pipeline.finite import require_finite
from pipeline.panorama.windows import Window
from pipeline.student.config import StudentConfig
from pipeline.student.model import start_student
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.rectification import stitch_assistant
from pipeline.teacher.sam import load_mask_generator
from stages.predictor import StudentPredictor

LOOKS = ("stages.predictor", "pipeline.teacher.rectification", "pipeline.teacher.generator.generator")
"""Modules that look."""


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def share_of_looks(name: str, module: str, work: Callable[[], object], times: int) -> str:
    """A row of the table."""
    looks: list[float] = []

    def timed_look(numbers: torch.Tensor, network: str) -> None:
        looks.append(milliseconds(lambda: require_finite(numbers, network)))

    work()
    all_work: list[float] = []
    all_looks: list[float] = []
    with patch(f"{module}.require_finite", timed_look):
        for _ in range(times):
            looks.clear()
            all_work.append(milliseconds(work))
            all_looks.append(sum(looks))
    whole, looking = statistics.median(all_work), statistics.median(all_looks)
    spread = 100 * (max(all_work) - min(all_work)) / whole
    return f"| {name} | {whole:.1f} | {looking:.2f} | {100 * looking / whole:.2f} | {spread:.1f} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=15)
    times = parser.parse_args().times
    torch.set_num_threads(1)
    cpu, rng = torch.device("cpu"), np.random.default_rng(0)
    panorama = rng.integers(0, 256, (512, 1024, 3), np.uint8)
    student = StudentPredictor(
        start_student(StudentConfig("tiny", "demo"), DENSEPASS_13).model.eval(), DENSEPASS_13, "cpu"
    )
    assistant, sam = load_assistant(AssistantConfig(), cpu), load_mask_generator(
        SamConfig(points_per_side=8, pred_iou_thresh=0.5, stability_score_thresh=0.85), cpu
    )  # fmt: skip
    windows = [Window(0, column, 256, 256) for column in range(0, 1024, 256)]
    band = panorama[:256]
    config = AssistantConfig(window_scale=1.5, whole_scale=0.25)
    print("| network | work, ms | looks in it, ms | share, % | spread of the work, % |\n|---|---:|---:|---:|---:|")
    works = (
        ("student", LOOKS[0], lambda: student(panorama)),
        ("assistant", LOOKS[1], lambda: stitch_assistant(band, windows, assistant, config, DENSEPASS_13)),
        ("SAM", LOOKS[2], lambda: sam(band[:, :256])),
    )
    for name, module, work in works:
        print(share_of_looks(name, module, work, times), flush=True)


if __name__ == "__main__":
    main()
