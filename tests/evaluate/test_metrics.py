"""The confusion matrix against scikit-learn; resizing against torch."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.classes import IGNORE
from pipeline.evaluate.metrics import (
    ConfusionMatrix,
    best_class,
    best_class_at,
    class_shares,
    labels_at,
    resize_nearest,
)
from pipeline.panorama.sphere import solid_angles

CLASSES = 5
IDS = st.sampled_from([*range(CLASSES), IGNORE])
MAPS = hnp.arrays(np.uint8, (6, 7), elements=IDS)


def random_maps(classes: int = CLASSES, shape: tuple[int, int] = (40, 60)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, shape).astype(np.uint8)
    noise = rng.integers(0, classes, shape).astype(np.uint8)
    return labels, np.where(rng.random(shape) < 0.6, labels, noise)


@pytest.mark.slow
@settings(max_examples=40)
@given(MAPS, MAPS)
def test_counts_equal_scikit_learns(labels: np.ndarray, predictions: np.ndarray) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    matrix = ConfusionMatrix(CLASSES)
    matrix.add(labels, predictions)
    known = (labels != IGNORE) & (predictions != IGNORE)
    if known.any():
        expected = sklearn_metrics.confusion_matrix(labels[known], predictions[known], labels=range(CLASSES))
        assert (matrix.matrix == expected).all()
    assert matrix.matrix.sum() == known.sum()
    assert matrix.uncovered.sum() == ((labels != IGNORE) & (predictions == IGNORE)).sum()


@pytest.mark.slow
def test_counts_equal_torchmetrics_at_the_benchmarks_size() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    labels, predictions = random_maps(19, (512, 1024))
    labels[:40] = IGNORE
    peer, matrix = torchmetrics.MulticlassConfusionMatrix(19, ignore_index=IGNORE), ConfusionMatrix(19)
    peer.update(torch.from_numpy(predictions).long(), torch.from_numpy(labels).long())
    matrix.add(labels, predictions)
    assert (matrix.matrix == peer.compute().numpy()).all()


@pytest.mark.slow
def test_iou_and_accuracy_equal_scikit_learns() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    labels, predictions = random_maps()
    matrix = ConfusionMatrix(CLASSES)
    matrix.add(labels, predictions)
    truth, found = labels.ravel(), predictions.ravel()
    np.testing.assert_allclose(matrix.per_class_iou, sklearn_metrics.jaccard_score(truth, found, average=None))
    assert matrix.miou == pytest.approx(sklearn_metrics.jaccard_score(truth, found, average="macro"))
    assert matrix.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, found))


@settings(max_examples=20)
@given(MAPS, MAPS, MAPS, MAPS)
def test_images_are_counted_together_not_averaged(
    labels_a: np.ndarray, found_a: np.ndarray, labels_b: np.ndarray, found_b: np.ndarray
) -> None:
    streamed, at_once = ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES)
    streamed.add(labels_a, found_a)
    streamed.add(labels_b, found_b)
    at_once.add(np.concatenate((labels_a, labels_b)), np.concatenate((found_a, found_b)))
    assert (streamed.matrix == at_once.matrix).all()
    np.testing.assert_equal(streamed.miou, at_once.miou)


def test_a_class_that_never_occurs_does_not_lower_the_mean() -> None:
    matrix = ConfusionMatrix(CLASSES)
    matrix.add(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    assert matrix.miou == 1.0
    assert np.isnan(matrix.per_class_iou[1:]).all()


def test_a_class_that_is_only_predicted_scores_zero() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([[0, 0, 0, 0]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert matrix.per_class_iou.tolist() == [0.75, 0.0]


def test_uncovered_pixels_lower_coverage_not_iou() -> None:
    labels = np.array([[0, 0, 1, 1, IGNORE]], np.uint8)
    matrix = ConfusionMatrix(2)
    matrix.add(labels, np.array([[0, IGNORE, 1, 1, 0]], np.uint8))
    assert matrix.miou == 1.0
    assert matrix.coverage == 0.75


def test_nothing_measured_is_nan_not_zero() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.full((2, 2), IGNORE, np.uint8), np.zeros((2, 2), np.uint8))
    assert math.isnan(matrix.miou)
    assert math.isnan(matrix.accuracy)
    assert math.isnan(matrix.coverage)


@pytest.mark.parametrize("stray", [CLASSES, 100, 254])
def test_predictions_that_are_no_class_are_refused(stray: int) -> None:
    labels, predictions = random_maps()
    predictions[3, 3] = stray
    with pytest.raises(ValueError, match="neither below 5 nor 255"):
        ConfusionMatrix(CLASSES).add(labels, predictions)


def test_maps_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="resize"):
        ConfusionMatrix(2).add(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))


def test_weighted_counts_are_solid_angles() -> None:
    labels, predictions = random_maps(shape=(16, 32))
    matrix = ConfusionMatrix(CLASSES, weighted=True)
    matrix.add(labels, predictions, solid_angles(16, 32))
    assert matrix.matrix.sum() == pytest.approx(4 * np.pi)
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    weights = np.repeat(solid_angles(16, 32), 32)
    expected = sklearn_metrics.confusion_matrix(labels.ravel(), predictions.ravel(), sample_weight=weights)
    np.testing.assert_allclose(matrix.matrix, expected)


def test_errors_at_the_poles_cost_less_when_weighted() -> None:
    labels = np.zeros((16, 32), np.uint8)
    pole, horizon = labels.copy(), labels.copy()
    pole[0], horizon[8] = 1, 1
    weighted = {}
    for name, predictions in {"pole": pole, "horizon": horizon}.items():
        matrix = ConfusionMatrix(2, weighted=True)
        matrix.add(labels, predictions, solid_angles(16, 32))
        weighted[name] = matrix.accuracy
    assert weighted["pole"] > 1 - 1 / 16 > weighted["horizon"]


@settings(max_examples=30)
@given(MAPS)
def test_class_shares_sum_to_one_and_end_with_what_is_ignored(labels: np.ndarray) -> None:
    shares = class_shares(labels, CLASSES, np.ones(6))
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == pytest.approx((labels == IGNORE).mean())
    assert shares[2] == pytest.approx((labels == 2).mean())


def resized(scores: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scores at another size: of one class, the best score is the score."""
    return np.stack([best_class_at(score[None], height, width)[1] for score in scores])


@pytest.mark.parametrize(("height", "width"), [(16, 32), (7, 24), (4, 8), (3, 20)])
def test_resizing_equals_torchs_bilinear_between_wrapped_copies(height: int, width: int) -> None:
    scores = np.random.default_rng(1).random((3, 4, 8)).astype(np.float32)
    tripled = torch.from_numpy(np.tile(scores, (1, 1, 3)))[None]
    expected = torch.nn.functional.interpolate(tripled, size=(height, 3 * width), mode="bilinear")[
        0, :, :, width:-width
    ]
    np.testing.assert_allclose(resized(scores, height, width), expected.numpy(), atol=1e-6)


@settings(max_examples=25)
@given(st.integers(-8, 8), st.integers(1, 4))
def test_resizing_commutes_with_a_roll(columns: int, factor: int) -> None:
    scores = np.random.default_rng(2).random((2, 4, 8)).astype(np.float32)
    rolled = resized(np.roll(scores, columns, axis=2), 4 * factor, 8 * factor)
    expected = np.roll(resized(scores, 4 * factor, 8 * factor), columns * factor, axis=2)
    np.testing.assert_allclose(rolled, expected, atol=1e-6)


def test_probabilities_still_sum_to_one_when_resized() -> None:
    scores = np.random.default_rng(3).dirichlet(np.ones(4), (5, 6)).transpose(2, 0, 1)
    np.testing.assert_allclose(resized(scores, 11, 17).sum(axis=0), 1, atol=1e-6)


@settings(max_examples=25)
@given(hnp.arrays(np.float32, (4, 3, 5), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_best_class_is_argmax_with_ties_to_the_lower_class(scores: np.ndarray) -> None:
    labels, best = best_class(scores)
    assert (labels == scores.argmax(axis=0)).all()
    assert (best == scores.max(axis=0)).all()


def test_strips_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(4).random((3, 6, 8)).astype(np.float32)
    labels, best = best_class_at(scores, 25, 32)
    assert (labels == resized(scores, 25, 32).argmax(axis=0)).all()
    monkeypatch.setattr("pipeline.evaluate.metrics.STRIP_VALUES", 3 * 32 * 4)
    assert (labels_at(scores, 25, 32) == labels).all()
    assert (best_class_at(scores, 25, 32)[1] == best).all()
    assert (labels_at(scores, 6, 8) == best_class(scores)[0]).all()


def test_nearest_resize_keeps_blocks() -> None:
    labels = np.array([[0, 1], [2, IGNORE]], np.uint8)
    assert (resize_nearest(labels, 4, 6) == np.kron(labels, np.ones((2, 3), np.uint8))).all()
    assert (resize_nearest(resize_nearest(labels, 4, 6), 2, 2) == labels).all()


@pytest.mark.parametrize("kind", [np.int64, np.float32])
def test_labels_that_are_no_bytes_are_refused(kind: type[np.generic]) -> None:
    """An id of 259 would otherwise be counted as 3, and int64, as torch's argmax gives it, fail within."""
    labels, others = np.zeros((2, 4), np.uint8), cast(Any, np.zeros((2, 4), kind))
    with pytest.raises(ValueError, match="both must be uint8"):
        ConfusionMatrix(CLASSES).add(others, labels)
    with pytest.raises(ValueError, match="both must be uint8"):
        ConfusionMatrix(CLASSES).add(labels, others)


def test_every_id_but_ignore_may_be_a_class() -> None:
    """As in label sets."""
    matrix = ConfusionMatrix(IGNORE)
    ids = np.arange(256, dtype=np.uint8)[None]
    matrix.add(ids, ids)
    assert matrix.miou == 1
    assert matrix.matrix.sum() == 255
    with pytest.raises(ValueError, match=r"1\.\.255"):
        ConfusionMatrix(256)


def test_scores_of_a_batch_are_refused() -> None:
    scores = np.zeros((1, 5, 4, 8), np.float32)
    with pytest.raises(ValueError, match="of one panorama"):
        labels_at(scores, 8, 16)
