"""Confidence interval of mIoU over the choice of panoramas: a percentile bootstrap (Efron, 1979).

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


def miou_interval(matrices_NCC: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Lower and upper end of the 95 % interval of mIoU, 0..1, by one summed confusion matrix per resample.

    A class that occurs in no panorama of a resample is left out of its mean, as in mIoU itself.

    Args:
        matrices_NCC: confusion matrix of each panorama, rows = truth.

    Returns:
        (nan, nan) for fewer than two panoramas, and where nothing was covered.
    """
    count = len(matrices_NCC)
    if count < 2:
        return float("nan"), float("nan")
    drawn_RN = np.random.default_rng(_SEED).integers(0, count, (RESAMPLES, count))
    times_RN = np.stack([np.bincount(row, minlength=count) for row in drawn_RN])
    hits_NC = np.diagonal(matrices_NCC, axis1=1, axis2=2)
    union_NC = matrices_NCC.sum(axis=1) + matrices_NCC.sum(axis=2) - hits_NC
    hits_RC, union_RC = times_RN @ hits_NC, times_RN @ union_NC
    occurs_RC = union_RC > 0
    iou_RC = hits_RC / np.maximum(union_RC, 1)
    measured_R = occurs_RC.any(axis=1)
    if not measured_R.any():
        return float("nan"), float("nan")
    miou_R = iou_RC.sum(axis=1)[measured_R] / occurs_RC.sum(axis=1)[measured_R]
    low, high = np.quantile(miou_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
