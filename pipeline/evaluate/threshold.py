"""The baseline: class-balanced confidence thresholding, as used for pseudo-labels in domain adaptation.

Per class, pixels whose confidence is below the median over the whole set (at most 0.9) are dropped. Two passes: the
first fills histograms, so memory does not grow with the set; the second applies the thresholds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.arrays import AnyFloatArray, LabelArray
from pipeline.classes import IGNORE

BINS = 1000
CAP = 0.9
"""Highest threshold of any class (as usual in class-balanced self-training)."""


class ConfidenceHistograms:
    """First pass: per class, a histogram [C, 1000] of the confidence (highest probability) of its predicted pixels."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, BINS), np.int64)

    def add(
        self, labels_HW: LabelArray, confidence_HW: AnyFloatArray, valid_HW: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Count one panorama.

        Args:
            labels_HW: predicted class ids.
            confidence_HW: their probabilities, 0..1.
            valid_HW: pixels to count; None for all.
        """
        bins = np.clip((confidence_HW * BINS).astype(np.int64), 0, BINS - 1)
        joint = labels_HW * np.int64(BINS) + bins
        joint = joint.ravel() if valid_HW is None else joint[valid_HW]
        self.counts += np.bincount(joint, minlength=self.counts.size).reshape(self.counts.shape)

    def thresholds(self, cap: float = CAP) -> npt.NDArray[np.float32]:
        """Median confidence [C], interpolated within its bin, at most `cap`; `cap` for classes never predicted."""
        return np.array([min(_median(row), cap) if row.any() else cap for row in self.counts], np.float32)


def _median(histogram: npt.NDArray[np.int64]) -> float:
    """Median of a histogram whose bins span [0, 1], to within a bin's width."""
    below = np.cumsum(histogram)
    half = below[-1] / 2
    middle = int(np.searchsorted(below, half))
    inside = (half - (below[middle] - histogram[middle])) / histogram[middle]
    return float((middle + inside) / len(histogram))


def confidence_threshold(
    labels_HW: LabelArray, confidence_HW: AnyFloatArray, thresholds_C: npt.NDArray[np.float32]
) -> LabelArray:
    """Second pass: labels with IGNORE where the confidence is below the class's threshold."""
    return np.where(confidence_HW < thresholds_C[labels_HW], np.uint8(IGNORE), labels_HW)
