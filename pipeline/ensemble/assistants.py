"""Several assistants: their mean, which masks are labelled by, and where they agree with it (ours).

Legend: C classes, H W panorama.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.arrays import BoolArray, FloatArray, LabelArray


def weighted_mean(maps: Iterable[FloatArray], weights: Sequence[float]) -> FloatArray:
    """The weighted mean of maps of one shape, which are taken one at a time.

    Args:
        maps: float32, as many as weights.
        weights: at least 0, not all 0.
    """
    shares = np.asarray(weights, np.float32) / np.float32(sum(weights))
    total = np.float32(0)
    for share, values in zip(shares, maps, strict=True):
        total = total + share * values
    return np.asarray(total, np.float32)


def count_agreeing(blend_CHW: FloatArray, assistants: Iterable[FloatArray]) -> LabelArray:
    """How many of some assistants give a pixel the class that their mean gives it, uint8 [H, W]; it may be none.

    Args:
        blend_CHW: probabilities of their mean.
        assistants: probabilities [C, H, W] of each.
    """
    labels_HW = blend_CHW.argmax(axis=0)
    agreeing_HW = np.zeros(labels_HW.shape, np.uint8)
    for probabilities_CHW in assistants:
        agreeing_HW += probabilities_CHW.argmax(axis=0) == labels_HW
    return agreeing_HW


def enough_agree(agreeing_HW: LabelArray, agree: int, number: int) -> BoolArray:
    """Where so many assistants agree as are asked for.

    Args:
        agreeing_HW: how many do.
        agree: `fusion.agree`; 0: all of them.
        number: of assistants.
    """
    return agreeing_HW >= (agree or number)
