"""Class-balanced confidence thresholds against numpy's median of all values at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.classes import IGNORE
from pipeline.evaluate.threshold import BINS, CAP, ConfidenceHistograms, confidence_threshold


def random_panorama(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    return labels, rng.beta(2 + labels, 2).astype(np.float32)


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_streamed_medians_equal_numpys_to_within_a_bin(seed: int) -> None:
    panoramas = [random_panorama(seed + i) for i in range(3)]
    histograms = ConfidenceHistograms(3)
    for labels, confidence in panoramas:
        histograms.add(labels, confidence)
    labels, confidence = (np.concatenate(parts) for parts in zip(*panoramas, strict=True))
    for class_id, median in enumerate(histograms.thresholds(cap=1.0)):
        # With an even number of values any number between the two in the middle is a median.
        below, above = (np.quantile(confidence[labels == class_id], 0.5, method=m) for m in ("lower", "higher"))
        assert below - 1 / BINS <= median <= above + 1 / BINS


def test_about_half_of_each_class_remains() -> None:
    labels, confidence = random_panorama(7)
    histograms = ConfidenceHistograms(3)
    histograms.add(labels, confidence)
    kept = confidence_threshold(labels, confidence, histograms.thresholds(cap=1.0))
    for class_id in range(3):
        share = (kept == class_id).sum() / (labels == class_id).sum()
        assert share == pytest.approx(0.5, abs=0.03)


def test_thresholds_are_capped_so_that_sure_classes_lose_little() -> None:
    labels = np.zeros((10, 10), np.uint8)
    histograms = ConfidenceHistograms(2)
    histograms.add(labels, np.full((10, 10), 0.99, np.float32))
    assert histograms.thresholds().tolist() == pytest.approx([CAP, CAP])


def test_dropped_pixels_are_ignored_and_the_others_untouched() -> None:
    labels = np.array([[0, 0, 1, 1]], np.uint8)
    confidence = np.array([[0.4, 0.6, 0.4, 0.6]], np.float32)
    kept = confidence_threshold(labels, confidence, np.array([0.5, 0.3], np.float32))
    assert kept.tolist() == [[IGNORE, 0, 1, 1]]
    assert kept.dtype == np.uint8


def test_ignored_pixels_do_not_move_the_median() -> None:
    labels, confidence = random_panorama(1)
    valid = np.arange(30)[None, :] < np.full((20, 1), 15)
    some, all_ = ConfidenceHistograms(3), ConfidenceHistograms(3)
    some.add(labels, np.where(valid, confidence, 1.0), valid)
    all_.add(labels[:, :15], confidence[:, :15])
    assert (some.counts == all_.counts).all()


def test_the_highest_confidence_falls_into_the_last_bin() -> None:
    histograms = ConfidenceHistograms(1)
    histograms.add(np.zeros((1, 2), np.uint8), np.array([[1.0, 0.0]], np.float32))
    assert histograms.counts[0, [0, -1]].tolist() == [1, 1]
