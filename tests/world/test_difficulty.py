from __future__ import annotations

from time import process_time

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.world import View, build_scene, render_panorama
from pipeline.world.seeds import DEMO_TRAIN, MODEL_VALIDATION

CLASSES = len(DENSEPASS_13)
BINS = 16**3


def colour_bins(view: View) -> npt.NDArray[np.intp]:
    r, g, b = (view.image_HW3 >> 4).astype(np.intp).reshape(-1, 3).T
    return (r * 16 + g) * 16 + b


def mean_iou(table_B: npt.NDArray[np.intp], views: list[View]) -> float:
    confusion = np.zeros((CLASSES, CLASSES))
    for view in views:
        np.add.at(confusion, (view.labels_HW.ravel(), table_B[colour_bins(view)]), 1)
    hit = np.diag(confusion)
    return float((hit / (confusion.sum(0) + confusion.sum(1) - hit)).mean())


@pytest.mark.slow
def test_colour_alone_does_not_tell_the_class() -> None:
    # 128x256 is enough: the classifier sees single pixels, whose colours do not depend on the resolution.
    train = [render_panorama(build_scene(seed), 128, 256) for seed in DEMO_TRAIN[:16]]
    evaluation = [render_panorama(build_scene(seed), 128, 256) for seed in MODEL_VALIDATION[:6]]
    counts_BC = np.zeros((BINS, CLASSES))
    for view in train:
        np.add.at(counts_BC, (colour_bins(view), view.labels_HW.ravel()), 1)
    balanced_BC = counts_BC / counts_BC.sum(0)
    best = max(mean_iou(table.argmax(1), evaluation) for table in (counts_BC, balanced_BC, counts_BC * balanced_BC))
    assert best < 0.35


@pytest.mark.slow
def test_a_panorama_of_half_a_megapixel_takes_seconds_not_minutes() -> None:
    render_panorama(build_scene(1), 32, 64)  # noise tiles are made once per process
    start = process_time()
    render_panorama(build_scene(2), 512, 1024)
    assert process_time() - start < 3
