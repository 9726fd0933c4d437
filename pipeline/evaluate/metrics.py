"""The benchmarks' protocol: scores to labels at the truth's size, one confusion matrix over all images, IoU.

Method, "Benchmarks' protocol (DensePASS)": scores are bilinear-upsampled to the label's size before the argmax; only
pixels whose truth is a class count; IoU = diagonal / (row + column - diagonal); mIoU is its mean over the classes that
occur.

Every figure also exists weighted by solid angle: pixels of a panorama shrink towards the poles, and plain counts
over-represent zenith and nadir.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import AnyFloatArray, LabelArray, ScalarT
from pipeline.classes import IGNORE

# C classes, H W truth (or target size), h w prediction (source size).

STRIP_VALUES = 1 << 20
"""Scores held at once while large outputs are computed: 4 MB of float32, about the size of a CPU's cache."""


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs, streamed image by image.

    Args:
        classes: number of classes C; ids are 0..C-1.
        weighted: count solid angle (float64) rather than pixels (int64).

    Raises:
        ValueError: `classes` is not in 1..255.
    """

    def __init__(self, classes: int, weighted: bool = False) -> None:
        if not 0 < classes <= IGNORE:
            raise ValueError(f"classes is {classes}; expected 1..{IGNORE}: ids are uint8 and {IGNORE} is ignored")
        self.classes = classes
        self.weighted = weighted
        dtype = np.float64 if weighted else np.int64
        self.matrix: npt.NDArray[Any] = np.zeros((classes, classes), dtype)
        """[C, C] int64 or float64; rows = truth, columns = prediction."""
        self.uncovered: npt.NDArray[Any] = np.zeros(classes, dtype)
        """[C], truth of pixels that the prediction does not cover (IGNORE)."""

    def add(self, labels_HW: LabelArray, predictions_HW: LabelArray, weights_H: AnyFloatArray | None = None) -> None:
        """Count one image.

        Args:
            labels_HW: truth; ids that are no class do not count.
            predictions_HW: class ids, or IGNORE where nothing is predicted.
            weights_H: weight of a pixel per row (`sphere.solid_angles`), for weighted matrices only.

        Raises:
            ValueError: an array is not uint8, shapes differ, weights are missing or superfluous, or a prediction is
                neither class nor IGNORE.
        """
        if labels_HW.dtype != np.uint8 or predictions_HW.dtype != np.uint8:
            raise ValueError(f"labels are {labels_HW.dtype}, predictions {predictions_HW.dtype}; both must be uint8")
        if labels_HW.shape != predictions_HW.shape:
            raise ValueError(f"predictions are {predictions_HW.shape}, labels {labels_HW.shape}; resize predictions")
        if (weights_H is not None) != self.weighted:
            raise ValueError("weights belong to weighted matrices, and to all of them")
        counts = _pair_counts(labels_HW, predictions_HW, weights_H)[: self.classes]
        if counts[:, self.classes : IGNORE].any():
            raise ValueError(f"predictions hold ids that are neither below {self.classes} nor {IGNORE}")
        self.matrix += counts[:, : self.classes]
        self.uncovered += counts[:, IGNORE]

    def include(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix of the same classes and kind."""
        self.matrix += other.matrix
        self.uncovered += other.uncovered

    def merged(self, of_class: Sequence[int]) -> ConfusionMatrix:
        """The counts of coarser classes.

        Args:
            of_class: coarser class per class id, 0, 1, 2, ...: all of them occur.
        """
        coarse = ConfusionMatrix(max(of_class) + 1, self.weighted)
        own = np.asarray(of_class)
        np.add.at(coarse.matrix, (own[:, None], own[None]), self.matrix)
        np.add.at(coarse.uncovered, own, self.uncovered)
        return coarse

    @property
    def per_class_iou(self) -> npt.NDArray[np.float64]:
        """IoU [C]; nan for a class that occurs neither in the (covered) truth nor in the predictions."""
        return class_iou(self.matrix)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur; nan if none does."""
        iou = self.per_class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of the covered pixels that are right; nan if none is covered."""
        return _ratio(np.trace(self.matrix), self.matrix.sum())

    @property
    def coverage(self) -> float:
        """Share of the pixels with a true class that have a prediction; nan if there are none."""
        covered = self.matrix.sum()
        return _ratio(covered, covered + self.uncovered.sum())


def class_iou(matrix_CC: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """IoU [C] of a confusion matrix; nan for a class that occurs neither in its rows nor in its columns."""
    hits = np.diagonal(matrix_CC).astype(np.float64)
    union = matrix_CC.sum(axis=0) + matrix_CC.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(matrix_CC), np.nan), where=union > 0)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")


def _pair_counts(
    labels_HW: LabelArray, predictions_HW: LabelArray, weights_H: AnyFloatArray | None
) -> npt.NDArray[Any]:
    """[256, 256] pixels, or weight, of each (truth id, predicted id).

    Of all ids, not only of the classes: a pair of bytes is its own bin, which is faster than looking classes up.
    """
    pairs_HW = labels_HW.astype(np.uint16)
    pairs_HW <<= 8
    pairs_HW |= predictions_HW
    weights = None if weights_H is None else np.broadcast_to(weights_H[:, None], pairs_HW.shape).ravel()
    return np.bincount(pairs_HW.ravel(), weights, minlength=1 << 16).reshape(256, 256)


def class_shares(labels_HW: LabelArray, classes: int, weights_H: AnyFloatArray) -> npt.NDArray[np.float64]:
    """Share of each class, and last of all other ids, in the weighted area: [C + 1], sum 1."""
    counts_H256 = np.stack([np.bincount(row, minlength=256) for row in labels_HW])
    areas = np.asarray(weights_H, np.float64) @ counts_H256
    areas = np.append(areas[:classes], areas[classes:].sum())
    return areas / areas.sum()


@dataclass(frozen=True)
class _Taps:
    """Two source indices and the weight of the second, per target index: linear interpolation of pixel centres."""

    lower: npt.NDArray[np.intp]
    upper: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float32]

    def __getitem__(self, part: slice) -> _Taps:
        return _Taps(self.lower[part], self.upper[part], self.weight[part])

    def above(self, first: int) -> _Taps:
        """The same taps into a source whose rows before `first` were cut off."""
        return _Taps(self.lower - first, self.upper - first, self.weight)


def _taps(source: int, target: int, wrap: bool) -> _Taps:
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    lower = np.floor(position).astype(np.intp)
    weight = (position - lower).astype(np.float32)
    if wrap:
        return _Taps(lower % source, (lower + 1) % source, weight)
    return _Taps(np.clip(lower, 0, source - 1), np.clip(lower + 1, 0, source - 1), weight)


def _lerp(values: npt.NDArray[np.float32], taps: _Taps, axis: int) -> npt.NDArray[np.float32]:
    """Interpolate one axis of [C, h, w]: axis 1 rows, axis 2 columns."""
    lower, mixed = values.take(taps.lower, axis), values.take(taps.upper, axis)
    mixed -= lower
    mixed *= taps.weight[:, None] if axis == 1 else taps.weight
    mixed += lower
    return mixed


def best_class(scores_CHW: AnyFloatArray) -> tuple[LabelArray, npt.NDArray[np.float32]]:
    """(labels_HW, their scores_HW) of the highest score; ties go to the lower class."""
    rows_HCW = scores_CHW.swapaxes(0, 1)  # row by row: argmax copies its input
    labels_HW = np.stack([row_CW.argmax(axis=0).astype(np.uint8) for row_CW in rows_HCW])
    return labels_HW, np.asarray(scores_CHW.max(axis=0), np.float32)


def labels_at(scores_Chw: AnyFloatArray, height: int, width: int) -> LabelArray:
    """The labels of `best_class_at`.

    Raises:
        ValueError: as there.
    """
    return best_class_at(scores_Chw, height, width)[0]


def best_class_at(scores_Chw: AnyFloatArray, height: int, width: int) -> tuple[LabelArray, npt.NDArray[np.float32]]:
    """`best_class` of scores (probabilities or logits) that are resized bilinearly, columns wrapping over the seam.

    Pixel centres as in the spherical convention (torch's align_corners=False); no antialiasing, as in the benchmarks.
    Computed strip by strip: the resized scores are never held all at once.

    Raises:
        ValueError: the scores are not [C, h, w].
    """
    scores = np.asarray(scores_Chw, np.float32)
    if scores.ndim != 3:
        raise ValueError(f"scores have the shape {scores.shape}; they must be [C, h, w] of one panorama")
    if scores.shape[1:] == (height, width):
        return best_class(scores)
    rows, columns = _taps(scores.shape[1], height, wrap=False), _taps(scores.shape[2], width, wrap=True)
    labels, best = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)
    step = max(1, STRIP_VALUES // (len(scores) * width))
    for top in range(0, height, step):
        strip = rows[top : top + step]
        first = strip.lower[0]
        widened = _lerp(scores[:, first : strip.upper[-1] + 1], columns, axis=2)
        lengthened = _lerp(widened, strip.above(first), axis=1)
        labels[top : top + step], best[top : top + step] = best_class(lengthened)
    return labels, best


def resize_nearest(values_hw: npt.NDArray[ScalarT], height: int, width: int) -> npt.NDArray[ScalarT]:
    """Nearest resize of labels, masks or flags [h, w, ...] to [height, width, ...]: no new values."""
    if values_hw.shape[:2] == (height, width):
        return values_hw
    rows = ((np.arange(height) + 0.5) * values_hw.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * values_hw.shape[1] / width).astype(np.intp)
    return values_hw[rows[:, None], columns]
