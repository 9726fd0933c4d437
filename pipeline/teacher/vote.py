"""The vote: SAM's masks provide regions, the assistant their labels (paper figure 2, Eq. 3).

In every view, the assistant's labels inside each mask K_i^m vote, or its probabilities do. The winner labels the whole
mask; its label coverage ratio Lcr decides whether the mask is reliable. This is the first half of cross-task
complementary fusion (CTCF); `ensemble.compose` is the second, which blends the views over the panorama, so that masks
cut off by a view's border count little.

Paper: S_i is the assistant's prediction in window i. We: the stitched prediction S_TA^w cut to view i, because
it already combines neighbouring views (and the whole image, if blended in).

Legend: C classes, H W panorama, h w view, M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.ensemble.compose import Fusion, compose, require_alike
from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import NO_MASK, Regions, Votes
from pipeline.panorama.views import View
from pipeline.teacher.masks import MaskSet


def fuse(
    assistant_CHW: FloatArray,
    agreement_HW: FloatArray,
    ignored_HW: BoolArray,
    views: Sequence[View],
    masks: Sequence[MaskSet],
    label_set: LabelSet,
    config: FusionConfig,
) -> Fusion:
    """Vote in every view, and compose.

    Args:
        assistant_CHW: S_TA^w, probabilities in the classes of `label_set`.
        agreement_HW: A in [0, 1].
        ignored_HW: pixels without vote or label.
        views: covering the panorama.
        masks: one set per view, in the views' order; those of one view may overlap.
        label_set: the classes.
        config: settings of vote and composition.

    Raises:
        ValueError: classes, sizes or numbers of views differ, or `ignored_HW` is not of bool.
    """
    require_alike(assistant_CHW, agreement_HW, ignored_HW, label_set)
    regions = vote_in_views(assistant_CHW, ignored_HW, views, masks, label_set, config)
    return compose(assistant_CHW, agreement_HW, ignored_HW, views, regions, label_set, config)


def vote_in_views(
    assistant_CHW: FloatArray,
    ignored_HW: BoolArray,
    views: Sequence[View],
    masks: Sequence[MaskSet],
    label_set: LabelSet,
    config: FusionConfig,
) -> list[Regions]:
    """The regions of every view; arguments as for `fuse`."""
    labels_HW = assistant_CHW.argmax(axis=0).astype(np.uint8)
    protected = protected_classes(labels_HW, ignored_HW, label_set, config)
    needs_all = config.votes == "probabilities"
    used_CHW = assistant_CHW if needs_all else assistant_CHW.max(axis=0)[None] if _needs_confidence(config) else None

    def seen(view: View) -> Seen:
        used_Chw = None if used_CHW is None else np.stack([view.cut_nearest(used_HW) for used_HW in used_CHW])
        return Seen(
            view.cut_nearest(labels_HW),
            view.cut_nearest(ignored_HW),
            None if used_Chw is None else used_Chw.max(axis=0),
            used_Chw if needs_all else None,
        )

    return [
        vote_in_view(seen(view), own_masks, len(label_set), protected, config)
        for view, own_masks in zip(views, masks, strict=True)
    ]


def protected_classes(
    labels_HW: LabelArray, ignored_HW: BoolArray, label_set: LabelSet, config: FusionConfig
) -> tuple[int, ...]:
    """Ids of the classes whose pixels large masks of other classes leave alone: thin ones, and those that are rare in
    this panorama, as far as `config` protects them."""
    thin = label_set.thin if config.protect_thin else ()
    counts_C = np.bincount(labels_HW[~ignored_HW], minlength=len(label_set))
    rare = np.flatnonzero(counts_C < config.protect_rare * counts_C.sum())
    return tuple(sorted({*thin, *rare.tolist()}))


def _needs_confidence(config: FusionConfig) -> bool:
    return config.votes == "confidence" or config.keep_confidence > 0


@dataclass(frozen=True, eq=False)
class Seen:
    """What the assistant says of one view."""

    labels_hw: LabelArray
    """Class ids."""
    ignored_hw: BoolArray
    """Pixels without vote or region."""
    confidence_hw: FloatArray | None = None
    """Probability of the label; needed for some settings."""
    probabilities_Chw: FloatArray | None = None
    """Of all classes; needed for some settings."""


def vote_in_view(seen: Seen, masks: MaskSet, classes: int, protected: Sequence[int], config: FusionConfig) -> Regions:
    """The regions of one view.

    Args:
        seen: labels, and probabilities where `config` needs them.
        masks: of this view, h x w; they may overlap.
        classes: number of classes.
        protected: ids of classes whose pixels large masks of other classes leave alone.
        config: how to vote, from which area a mask is large, and which of overlapping masks is on top.

    Raises:
        ValueError: sizes differ, or probabilities are missing.
    """
    if (masks.height, masks.width) != seen.ignored_hw.shape:
        raise ValueError(f"masks are of a view of {(masks.height, masks.width)}, the view is {seen.ignored_hw.shape}")
    votes = vote(seen.labels_hw, seen.ignored_hw, masks, classes, _ballots(seen, masks, classes, config))
    weights_M = _weights(masks, votes, config)
    return Regions(_paint(seen, masks, votes, protected, config), replace(votes, weights_M=weights_M))


def vote(
    labels_hw: LabelArray,
    ignored_hw: BoolArray,
    masks: MaskSet,
    classes: int,
    ballots_MC: npt.NDArray[np.floating] | None = None,
) -> Votes:
    """Count the assistant's labels inside every mask; ignored pixels have no vote.

    Args:
        labels_hw: class ids.
        ignored_hw: pixels without vote.
        masks: of the view.
        classes: number of classes.
        ballots_MC: what elects the winner of each mask instead of the number of its labels.
    """
    labels_or_ignore_hw = labels_hw | -ignored_hw.view(np.uint8)  # IGNORE, which is all ones, where ignored
    counts_MB = np.zeros((len(masks), 256), np.int64)
    for counts_B, (box, bitmap) in zip(counts_MB, masks.placed(), strict=True):
        counts_B[:] = cv2.calcHist([labels_or_ignore_hw[box]], [0], bitmap.view(np.uint8), [256], [0, 256]).ravel()
    counts_MC = counts_MB[:, :classes]
    winners_M = (counts_MC if ballots_MC is None else ballots_MC).argmax(axis=1)
    own_M = np.take_along_axis(counts_MC, winners_M[:, None], axis=1)[:, 0]
    coverage_M = own_M / np.maximum(counts_MC.sum(axis=1), 1)
    areas_M = counts_MB.sum(axis=1)
    return Votes(winners_M.astype(np.uint8), coverage_M.astype(np.float32), areas_M)


def _ballots(seen: Seen, masks: MaskSet, classes: int, config: FusionConfig) -> npt.NDArray[np.float32] | None:
    """The votes [M, C] by probability; None where every label counts alike.

    Raises:
        ValueError: probabilities are missing.
    """
    if config.votes == "labels":
        return None
    ballots_MC = np.zeros((len(masks), classes), np.float32)
    valid_hw = ~seen.ignored_hw
    if config.votes == "confidence":
        confidence_hw = _required(seen.confidence_hw)
        for ballots_C, (box, bitmap) in zip(ballots_MC, masks.placed(), strict=True):
            own = bitmap & valid_hw[box]
            ballots_C[:] = np.bincount(seen.labels_hw[box][own], confidence_hw[box][own], minlength=classes)
        return ballots_MC
    probabilities_Chw = _required(seen.probabilities_Chw)
    for ballots_C, (box, bitmap) in zip(ballots_MC, masks.placed(), strict=True):
        own = (bitmap & valid_hw[box]).astype(np.float32)
        ballots_C[:] = np.tensordot(probabilities_Chw[:, *box], own, axes=2)
    return ballots_MC


def _required(values: FloatArray | None) -> FloatArray:
    if values is None:
        raise ValueError("these settings of fusion need the assistant's probabilities, which are not given")
    return values


def _weights(masks: MaskSet, votes: Votes, config: FusionConfig) -> npt.NDArray[np.float32] | None:
    """How much each mask counts where views differ."""
    of_masks = {
        "none": None,
        "lcr": votes.coverage_M,
        "predicted_iou": masks.predicted_iou_M,
        "stability": masks.stability_M,
    }
    return of_masks[config.weigh_by]


def _paint(
    seen: Seen, masks: MaskSet, votes: Votes, protected: Sequence[int], config: FusionConfig
) -> npt.NDArray[np.int32]:
    """The mask that owns each pixel, or NO_MASK. Masks without votes own no pixel."""
    labels_hw = seen.labels_hw
    owners_hw = np.full(labels_hw.shape, NO_MASK, np.int32)
    protected_hw = np.isin(labels_hw, protected)
    large_area = config.large_mask * labels_hw.size
    sure_hw = _required(seen.confidence_hw) >= config.keep_confidence if config.keep_confidence > 0 else None
    placed = list(masks.placed())
    for m in _painting_order(seen, votes, config):
        if votes.coverage_M[m] == 0:
            continue
        box, painted = placed[m]
        differs = labels_hw[box] != votes.winners_M[m]
        if votes.areas_M[m] >= large_area and len(protected):
            painted = painted & ~(protected_hw[box] & differs)
        if sure_hw is not None:
            painted = painted & ~(sure_hw[box] & differs)
        owners_hw[box][painted] = m
    owners_hw[seen.ignored_hw] = NO_MASK
    return owners_hw


def _painting_order(seen: Seen, votes: Votes, config: FusionConfig) -> list[int]:
    """Masks from the bottom to the top: by descending area, or by ascending purity, corrected for chance.

    Of equal masks, the later in the generator's order lies on top.
    """
    if config.on_top == "small":
        return np.argsort(-votes.areas_M, kind="stable").tolist()
    counts_B = np.bincount(seen.labels_hw[~seen.ignored_hw], minlength=256)
    by_chance_M = counts_B[votes.winners_M] / max(counts_B.sum(), 1)
    purity_M = (votes.coverage_M - by_chance_M) / np.maximum(1 - by_chance_M, 1e-6)
    return np.lexsort((-votes.areas_M, purity_M)).tolist()
