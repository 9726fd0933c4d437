"""mIoU as the benchmark's evaluator has it, against independent ones; and what others make of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from pipeline.classes import IGNORE
from pipeline.evaluate.metrics import ConfusionMatrix

CLASSES = 4
TRUTH = np.array([[0, 0, 0, 0, 1, 1, IGNORE, IGNORE]], np.uint8)
FOUND = np.array([[0, 0, 0, 1, 1, 1, 2, 3]], np.uint8)
"""Class 0 is found on 3 of 4 pixels, class 1 on both and one more; 2 and 3 only where nothing is labelled."""

Maps = list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]


def ours(maps: Maps, classes: int = CLASSES) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    for truth, found in maps:
        matrix.add(truth, found)
    return matrix


def by_loops(maps: Maps, classes: int) -> list[float]:
    """IoU per class as its definition says, pixel by pixel; nan for a class that never occurs."""
    both, either = [0] * classes, [0] * classes
    for truth, found in maps:
        for label, prediction in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
            if label == IGNORE:
                continue
            for c in {label, prediction}:
                either[c] += 1
                both[c] += label == prediction
    return [hit / all_ if all_ else float("nan") for hit, all_ in zip(both, either, strict=True)]


def random_maps(seed: int, absent: int) -> Maps:
    """Three images of six classes, of which one neither is labelled nor predicted."""
    rng = np.random.default_rng(seed)
    present = np.array([c for c in range(6) if c != absent], np.uint8)
    return [
        (np.append(rng.choice(present, 200), np.uint8(IGNORE))[None], rng.choice(present, 201)[None]) for _ in range(3)
    ]


def test_fixed_arrays() -> None:
    matrix = ours([(TRUTH, FOUND)])
    np.testing.assert_allclose(matrix.per_class_iou, [3 / 4, 2 / 3, np.nan, np.nan])
    assert matrix.miou == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_a_class_that_is_only_predicted_counts_as_nothing_right() -> None:
    matrix = ours([(np.array([[0, 0]], np.uint8), np.array([[0, 3]], np.uint8))])
    assert matrix.miou == pytest.approx((1 / 2 + 0) / 2)


@pytest.mark.parametrize("absent", range(6))
def test_a_plain_loop_over_pixels_says_the_same(absent: int) -> None:
    maps = random_maps(absent, absent)
    matrix = ours(maps, 6)
    np.testing.assert_allclose(matrix.per_class_iou, by_loops(maps, 6))
    assert np.isnan(matrix.per_class_iou[absent])
    assert matrix.miou == pytest.approx(np.nanmean(by_loops(maps, 6)))


@pytest.mark.parametrize("absent", [0, 3])
def test_torchmetrics_says_the_same_of_classes_that_occur_and_0_of_others(absent: int) -> None:
    maps = random_maps(absent, absent)
    peer = MulticlassJaccardIndex(6, average=None, ignore_index=IGNORE)
    for truth, found in maps:
        peer.update(torch.from_numpy(found).long(), torch.from_numpy(truth).long())
    theirs = peer.compute().numpy()
    np.testing.assert_allclose(theirs, np.nan_to_num(ours(maps, 6).per_class_iou), rtol=1e-6)
    assert theirs.mean() == pytest.approx(ours(maps, 6).miou * 5 / 6)


def test_evaluators_differ_where_a_class_does_not_occur_or_images_are_averaged() -> None:
    """The differences that stages/README.md names, in figures."""
    other = (np.array([[1, 1]], np.uint8), np.array([[1, 0]], np.uint8))
    maps: Maps = [(TRUTH, FOUND), other]
    iou = ours(maps).per_class_iou
    np.testing.assert_allclose(iou, [3 / 5, 3 / 5, np.nan, np.nan])
    assert ours(maps).miou == pytest.approx(0.6)
    assert np.nan_to_num(iou, nan=0.0).mean() == pytest.approx(0.3)
    assert np.nan_to_num(iou, nan=1.0).mean() == pytest.approx(0.8)
    of_images = [ours([pair]).miou for pair in maps]
    assert np.mean(of_images) == pytest.approx(((3 / 4 + 2 / 3) / 2 + (0 + 1 / 2) / 2) / 2)
