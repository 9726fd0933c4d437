"""Granularity chosen by the assistant: of SAM's masks for one prompt, the one that has a class votes.

SAM answers a point with up to three masks: the whole thing, a part of it, a part of that. Its predicted IoU does not
know which of them is a thing of one class; the assistant does (as Semantic-SAM's levels separate meaning from parts).

Legend: M masks of one view, N chosen ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.ensemble.regions import Votes
from pipeline.teacher.masks import MaskSet

MAX_BOX_IOU = 0.7
"""Of two chosen masks whose boxes overlap more (IoU), the one with the lower predicted IoU is dropped, as by
`sam.box_nms_thresh`."""


def one_per_prompt(masks: MaskSet, votes: Votes, theta: float) -> npt.NDArray[np.intp]:
    """Indices [N], ascending, of one mask per prompt, without duplicates.

    It is the largest mask of its prompt whose Lcr reaches `theta`, or the one with the highest Lcr if none does.

    Args:
        masks: of one view.
        votes: of each.
        theta: Lcr, in [0, 1].

    Raises:
        ValueError: the prompts of the masks are not known.
    """
    if masks.prompts_M is None:
        raise ValueError("one mask per prompt is wanted, and the masks do not tell their prompts")
    if not len(masks):
        return np.empty(0, np.intp)
    passes_M = votes.coverage_M >= theta
    merit_M = np.where(passes_M, votes.areas_M, 0)
    order_M = np.lexsort((votes.areas_M, votes.coverage_M, merit_M, masks.prompts_M))  # the best of a prompt last
    is_last_M = np.append(np.diff(masks.prompts_M[order_M]) != 0, True)
    return _without_duplicates(masks, np.sort(order_M[is_last_M]))


def _without_duplicates(masks: MaskSet, chosen_N: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """The chosen masks whose boxes resemble no better one's."""
    boxes_N4 = masks.boxes_M4[chosen_N].astype(np.int64)
    left: list[int] = []
    for n in np.argsort(-masks.predicted_iou_M[chosen_N], kind="stable").tolist():
        if not left or _box_iou(boxes_N4[n], boxes_N4[left]).max() <= MAX_BOX_IOU:
            left.append(n)
    return chosen_N[sorted(left)]


def _box_iou(box_4: npt.NDArray[np.int64], boxes_N4: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    low_N2, high_N2 = np.maximum(box_4[:2], boxes_N4[:, :2]), np.minimum(box_4[2:], boxes_N4[:, 2:])
    shared_N = np.maximum(high_N2 - low_N2, 0).prod(axis=1)
    both_N = (box_4[2:] - box_4[:2]).prod() + (boxes_N4[:, 2:] - boxes_N4[:, :2]).prod(axis=1) - shared_N
    return shared_N / np.maximum(both_N, 1)
