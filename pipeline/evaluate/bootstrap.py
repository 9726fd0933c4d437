"""Confidence intervals over the choice of panoramas: a percentile bootstrap (Efron, 1979).

Every resample is a draw of N panoramas with replacement, whose confusion matrices are summed; the draws are the same in
every function, so that changes between two predictions of the same panoramas are paired.

Legend: N panoramas, C classes, R resamples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
"""Number of draws of N panoramas with replacement."""
LEVEL = 0.95
"""Share of the resamples that lies inside the interval."""
_SEED = 0

Matrices = npt.NDArray[np.integer]
Interval = tuple[float, float]
NO_INTERVAL: Interval = (float("nan"), float("nan"))


def miou_interval(matrices_NCC: Matrices) -> Interval:
    """Lower and upper end of the 95 % interval of mIoU, 0..1, by one summed confusion matrix per resample.

    A class that occurs in no panorama of a resample is left out of its mean, as in mIoU itself.

    Args:
        matrices_NCC: confusion matrix of each panorama, rows = truth.

    Returns:
        (nan, nan) for fewer than two panoramas, and where nothing was covered.
    """
    return _interval(_mean_over_classes(_iou_RC(matrices_NCC)))


def miou_change_interval(before_NCC: Matrices, after_NCC: Matrices) -> Interval:
    """The same for the change of mIoU from one prediction to another of the same panoramas, in the same order."""
    return _interval(_mean_over_classes(_iou_RC(after_NCC)) - _mean_over_classes(_iou_RC(before_NCC)))


def iou_change_intervals(before_NCC: Matrices, after_NCC: Matrices) -> list[Interval]:
    """The same for the change of every class's IoU; resamples in which a class does not occur are left out of its
    interval."""
    return [_interval(change_R) for change_R in (_iou_RC(after_NCC) - _iou_RC(before_NCC)).T]


def ratio_change_interval(before_N2: npt.NDArray[np.integer], after_N2: npt.NDArray[np.integer]) -> Interval:
    """The same for the change of a share that is a ratio of sums, such as pixels right of all.

    Args:
        before_N2: numerator and denominator of each panorama.
        after_N2: those of the other prediction.
    """
    return _interval(_ratio_R(after_N2) - _ratio_R(before_N2))


def _ratio_R(parts_N2: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    if len(parts_N2) < 2:
        return np.empty(0)
    sums_R2 = _times_RN(len(parts_N2)) @ parts_N2
    return np.divide(sums_R2[:, 0], sums_R2[:, 1], out=np.full(len(sums_R2), np.nan), where=sums_R2[:, 1] > 0)


def _iou_RC(matrices_NCC: Matrices) -> npt.NDArray[np.float64]:
    """IoU of every resample and class, nan where the class does not occur; no resamples of fewer than two panoramas."""
    if len(matrices_NCC) < 2:
        return np.empty((0, matrices_NCC.shape[1]))
    hits_NC = np.diagonal(matrices_NCC, axis1=1, axis2=2)
    union_NC = matrices_NCC.sum(axis=1) + matrices_NCC.sum(axis=2) - hits_NC
    times_RN = _times_RN(len(matrices_NCC))
    hits_RC, union_RC = times_RN @ hits_NC, times_RN @ union_NC
    return np.divide(hits_RC, union_RC, out=np.full(hits_RC.shape, np.nan), where=union_RC > 0)


def _times_RN(count: int) -> npt.NDArray[np.int64]:
    """How often each panorama is in each resample."""
    drawn_RN = np.random.default_rng(_SEED).integers(0, count, (RESAMPLES, count))
    return np.stack([np.bincount(row, minlength=count) for row in drawn_RN])


def _mean_over_classes(iou_RC: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    occurs_RC = np.isfinite(iou_RC)
    counts_R = occurs_RC.sum(axis=1)
    sums_R = np.where(occurs_RC, iou_RC, 0).sum(axis=1)
    return np.divide(sums_R, counts_R, out=np.full(len(iou_RC), np.nan), where=counts_R > 0)


def _interval(values_R: npt.NDArray[np.float64]) -> Interval:
    """The middle 95 % of the resamples that have a value; (nan, nan) if none has."""
    measured = values_R[np.isfinite(values_R)]
    if len(measured) == 0:
        return NO_INTERVAL
    low, high = np.quantile(measured, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
