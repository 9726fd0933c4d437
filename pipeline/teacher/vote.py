"""The vote: SAM's masks provide regions, the assistant their labels (paper figure 2, Eq. 3).

In every view, the assistant's labels inside each mask K_i^m vote. The winner labels the whole mask; its label coverage
ratio Lcr decides whether the mask is reliable. This is the first half of cross-task
complementary fusion (CTCF); `ensemble.compose` is the second, which blends the views over the panorama, so that masks
cut off by a view's border count little.

Paper: S_i is the assistant's prediction in window i. We: the stitched prediction S_TA^w cut to view i, because
it already combines neighbouring views (and the whole image, if blended in).

Legend: C classes, H W panorama, h w view, M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    labels_HW = assistant_CHW.argmax(axis=0).astype(np.uint8)
    regions = [
        vote_in_view(view.cut_nearest(labels_HW), view.cut_nearest(ignored_HW), own_masks, label_set, config)
        for view, own_masks in zip(views, masks, strict=True)
    ]
    return compose(assistant_CHW, agreement_HW, ignored_HW, views, regions, label_set, config)


def vote_in_view(
    labels_hw: LabelArray, ignored_hw: BoolArray, masks: MaskSet, label_set: LabelSet, config: FusionConfig
) -> Regions:
    """The regions of one view.

    Args:
        labels_hw: the assistant's, in the classes of `label_set`.
        ignored_hw: pixels without vote or region.
        masks: of this view, h x w; they may overlap.
        label_set: its thin classes can be protected from large masks.
        config: whether they are, and from which area a mask is large.

    Raises:
        ValueError: sizes differ.
    """
    if (masks.height, masks.width) != ignored_hw.shape:
        raise ValueError(f"masks are of a view of {(masks.height, masks.width)}, the view is {ignored_hw.shape}")
    votes = vote(labels_hw, ignored_hw, masks, len(label_set))
    return Regions(_paint(labels_hw, ignored_hw, masks, votes, label_set, config), votes)


def vote(labels_hw: LabelArray, ignored_hw: BoolArray, masks: MaskSet, classes: int) -> Votes:
    """Count the assistant's labels inside every mask; ignored pixels have no vote."""
    labels_or_ignore_hw = labels_hw | -ignored_hw.view(np.uint8)  # IGNORE, which is all ones, where ignored
    counts_MB = np.zeros((len(masks), 256), np.int64)
    for counts_B, (box, bitmap) in zip(counts_MB, masks.placed(), strict=True):
        counts_B[:] = cv2.calcHist([labels_or_ignore_hw[box]], [0], bitmap.view(np.uint8), [256], [0, 256]).ravel()
    counts_MC = counts_MB[:, :classes]
    coverage_M = counts_MC.max(axis=1) / np.maximum(counts_MC.sum(axis=1), 1)
    areas_M = counts_MB.sum(axis=1)
    return Votes(counts_MC.argmax(axis=1).astype(np.uint8), coverage_M.astype(np.float32), areas_M)


def _paint(
    labels_hw: LabelArray,
    ignored_hw: BoolArray,
    masks: MaskSet,
    votes: Votes,
    label_set: LabelSet,
    config: FusionConfig,
) -> npt.NDArray[np.int32]:
    """The mask that owns each pixel, or NO_MASK: painted by descending area, so small masks win.

    Of masks of equal area, the later in the generator's order wins. Masks without votes own no pixel.
    """
    owners_hw = np.full(labels_hw.shape, NO_MASK, np.int32)
    thin_hw = np.isin(labels_hw, label_set.thin)
    large_area = config.large_mask * labels_hw.size
    placed = list(masks.placed())
    for m in np.argsort(-votes.areas_M, kind="stable").tolist():
        if votes.coverage_M[m] == 0:
            continue
        box, painted = placed[m]
        if config.protect_thin and votes.areas_M[m] >= large_area:
            painted = painted & ~(thin_hw[box] & (labels_hw[box] != votes.winners_M[m]))
        owners_hw[box][painted] = m
    owners_hw[ignored_hw] = NO_MASK
    return owners_hw
