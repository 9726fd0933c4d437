"""Controls of the ladder: what else masks and assistant would give, through the same vote and composition.

    sam_only     SAM's masks with the class of most votes, and nothing elsewhere
    superpixels  regions of like colour in place of SAM's masks
    oracle       every mask with the class that most of its pixels truly have, the assistant's labels elsewhere

Legend: C classes, H W panorama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import BoolArray, FloatArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.compose import compose
from pipeline.ensemble.config import FusionConfig
from pipeline.panorama.views import View
from pipeline.teacher.ballots import ViewPrediction
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.vote import fuse, protected_classes, vote_in_view, vote_in_views


@dataclass(frozen=True, eq=False)
class FusionInput:
    """What fusion has of one panorama."""

    assistant_CHW: FloatArray
    """S_TA^w, probabilities."""
    agreement_HW: FloatArray
    """A in [0, 1]."""
    ignored_HW: BoolArray
    """Pixels without vote or label."""
    views: Sequence[View]
    """Covering the panorama."""
    masks: Sequence[MaskSet]
    """One set per view."""
    label_set: LabelSet
    """The classes."""
    config: FusionConfig
    """Settings of vote and composition."""


def sam_only(known: FusionInput) -> LabelArray:
    """Labels [H, W] of the masks' winners, IGNORE where the views show no mask.

    Composed with one more class, *nothing*, as the label of all pixels without a mask: where views differ, their
    weights decide.
    """
    nothing = len(known.label_set)
    label_set = LabelSet(
        known.label_set.name, (*known.label_set.names, "nothing"), (*known.label_set.palette, (0, 0, 0)),
        known.label_set.thin,
    )  # fmt: skip
    regions = vote_in_views(
        known.assistant_CHW, known.ignored_HW, known.views, known.masks, known.label_set, known.config
    )
    nothing_CHW = np.zeros((len(label_set), *known.ignored_HW.shape), np.float32)
    nothing_CHW[nothing] = 1
    painted = replace(known.config, unreliable="paint", paint_from=0.0)
    fusion = compose(nothing_CHW, known.agreement_HW, known.ignored_HW, known.views, regions, label_set, painted)
    return np.where(fusion.labels_HW == nothing, np.uint8(IGNORE), fusion.labels_HW)


def with_masks(known: FusionInput, masks: Sequence[MaskSet]) -> LabelArray:
    """E, labels [H, W], with other masks, one set per view; they need not come from prompts."""
    weigh_by = "none" if known.config.weigh_by == "prompt_stability" else known.config.weigh_by
    config = replace(known.config, one_per_prompt=False, weigh_by=weigh_by)
    return fuse(
        known.assistant_CHW, known.agreement_HW, known.ignored_HW, known.views, masks, known.label_set, config
    ).labels_HW


def oracle(known: FusionInput, truth_HW: LabelArray) -> LabelArray:
    """Labels [H, W] of the masks by their true majority, the assistant's elsewhere: what the masks could give at most.

    Where classes are protected from large masks, they are so by the truth.

    Args:
        known: what fusion has.
        truth_HW: true labels at the working size; ids that are no class have no vote.
    """
    void_HW = known.ignored_HW | (truth_HW >= len(known.label_set))
    config = replace(known.config, unreliable="paint", paint_from=0.0, votes="labels", keep_confidence=0.0,
                     thin_runner_up=0.0, give_back=())  # fmt: skip
    protected = protected_classes(truth_HW, void_HW, known.label_set, config)
    regions = [
        vote_in_view(
            ViewPrediction(view.cut_nearest(truth_HW), view.cut_nearest(void_HW)),
            own,
            known.label_set,
            protected,
            config,
        )
        for view, own in zip(known.views, known.masks, strict=True)
    ]
    return compose(
        known.assistant_CHW, known.agreement_HW, known.ignored_HW, known.views, regions, known.label_set, config
    ).labels_HW
