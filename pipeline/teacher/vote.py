"""The vote: SAM's masks provide regions, the assistant their labels (paper figure 2, Eq. 3).

In every view, the assistant's labels inside each mask K_i^m vote, or its probabilities do. The winner labels the whole
mask; its label coverage ratio Lcr decides whether the mask is reliable. Masks of several views may vote as one region
(`ensemble.joining`). This is the first half of cross-task
complementary fusion (CTCF); `ensemble.compose` is the second, which blends the views over the panorama, so that masks
cut off by a view's border count little.

Paper: S_i is the assistant's prediction in window i. We: the stitched prediction S_TA^w cut to view i, because
it already combines neighbouring views (and the whole image, if blended in).

Legend: C classes, H W panorama, h w view, M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.ensemble.compose import Fusion, compose, mask_thresholds, require_alike
from pipeline.ensemble.config import FusionConfig, given_back
from pipeline.ensemble.joining import joined_regions
from pipeline.ensemble.regions import NO_MASK, Regions, Votes
from pipeline.panorama.views import View
from pipeline.teacher.ballots import (
    Ballots,
    RunnerUpRule,
    ViewPrediction,
    count_labels,
    elect,
    pool_by_region,
    require_probabilities,
    votes_after_joining,
    weighted_votes,
)
from pipeline.teacher.granularity import one_per_prompt
from pipeline.teacher.masks import MaskSet


def fuse(
    assistant_CHW: FloatArray,
    agreement_HW: FloatArray,
    ignored_HW: BoolArray,
    views: Sequence[View],
    masks: Sequence[MaskSet],
    label_set: LabelSet,
    config: FusionConfig,
    disputed_HW: BoolArray | None = None,
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
        disputed_HW: pixels on whose class too few assistants agree, which are unreliable (`fusion.agree`); None: none.

    Raises:
        ValueError: classes, sizes or numbers of views differ, or `ignored_HW` is not of bool.
    """
    require_alike(assistant_CHW, agreement_HW, ignored_HW, label_set)
    regions = vote_in_views(assistant_CHW, ignored_HW, views, masks, label_set, config)
    fusion = compose(assistant_CHW, agreement_HW, ignored_HW, views, regions, label_set, config)
    return fusion if disputed_HW is None else replace(fusion, reliable_HW=fusion.reliable_HW & ~disputed_HW)


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

    def prediction_in(view: View) -> ViewPrediction:
        used_Chw = None if used_CHW is None else np.stack([view.cut_nearest(used_HW) for used_HW in used_CHW])
        return ViewPrediction(
            view.cut_nearest(labels_HW),
            view.cut_nearest(ignored_HW),
            None if used_Chw is None else used_Chw.max(axis=0),
            used_Chw if needs_all else None,
        )

    in_views: list[_InView] = []
    ballots: list[Ballots] = []
    for view, own_masks in zip(views, masks, strict=True):
        in_view = _InView(prediction_in(view), own_masks, label_set, protected, config)
        if config.one_per_prompt:
            chosen = one_per_prompt(own_masks, elect(in_view.ballots()), config.theta)
            in_view = replace(in_view, masks=own_masks.filter(chosen))
        ballots.append(in_view.ballots())
        in_views.append(
            replace(in_view, prediction=replace(in_view.prediction, probabilities_Chw=None))
        )  # of all: much memory
    votes = [view.elect(own) for view, own in zip(in_views, ballots, strict=True)]
    regions = [view.regions(own) for view, own in zip(in_views, votes, strict=True)]
    if config.join == 0:
        return regions
    height, width = ignored_HW.shape
    joined = pool_by_region(ballots, joined_regions(views, regions, height, width, config.join))
    of_regions = [view.elect(own) for view, own in zip(in_views, joined, strict=True)]
    thetas = [config.theta if theta_M is None else theta_M for theta_M in mask_thresholds(regions, config)]
    each = zip(votes, of_regions, joined, thetas, strict=True)
    of_regions = [votes_after_joining(*of_view, config) for of_view in each]
    return [view.regions(own) for view, own in zip(in_views, of_regions, strict=True)]


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


def vote_in_view(
    prediction: ViewPrediction, masks: MaskSet, label_set: LabelSet, protected: Sequence[int], config: FusionConfig
) -> Regions:
    """The regions of one view.

    Args:
        prediction: labels, and probabilities where `config` needs them.
        masks: of this view, h x w; they may overlap.
        label_set: the classes.
        protected: ids of classes whose pixels large masks of other classes leave alone.
        config: how to vote, from which area a mask is large, and which of overlapping masks is on top.

    Raises:
        ValueError: sizes differ, or probabilities are missing.
    """
    view = _InView(prediction, masks, label_set, protected, config)
    return view.regions(view.elect(view.ballots()))


@dataclass(frozen=True, eq=False)
class _InView:
    """One view's part of the vote; see `vote_in_view`."""

    prediction: ViewPrediction
    masks: MaskSet
    label_set: LabelSet
    protected: Sequence[int]
    config: FusionConfig

    def ballots(self) -> Ballots:
        """The votes inside its masks.

        Raises:
            ValueError: as `vote_in_view`.
        """
        size, expected = (self.masks.height, self.masks.width), self.prediction.ignored_hw.shape
        if size != expected:
            raise ValueError(f"masks are of a view of {size}, the view is {expected}")
        classes = len(self.label_set)
        ballots = count_labels(self.prediction.labels_hw, self.prediction.ignored_hw, self.masks, classes)
        votes_MC = weighted_votes(self.prediction, self.masks, classes, self.config)
        return ballots if votes_MC is None else replace(ballots, votes_MC=votes_MC)

    def elect(self, ballots: Ballots) -> Votes:
        """The winners of its masks by these ballots."""
        return elect(ballots, _runner_up_rule(self.label_set, self.config), self.config.lcr_by)

    def regions(self, votes: Votes) -> Regions:
        """Its masks with the labels that these votes give them."""
        weights_M = _weights(self.masks, votes, self.config)
        return Regions(self._paint(votes), replace(votes, weights_M=weights_M))

    def _paint(self, votes: Votes) -> npt.NDArray[np.int32]:
        """The mask that owns each pixel, or NO_MASK: ignored pixels, which have no votes, belong to none."""
        prediction, config, labels_hw = self.prediction, self.config, self.prediction.labels_hw
        owners_hw = np.full(labels_hw.shape, NO_MASK, np.int32)
        protected_hw = np.isin(labels_hw, self.protected)
        large_area = config.large_mask * labels_hw.size
        sure_hw = (
            require_probabilities(prediction.confidence_hw) >= config.keep_confidence
            if config.keep_confidence > 0
            else None
        )
        returned = given_back(config, self.label_set)
        placed = list(self.masks.placed())
        for m in _painting_order(prediction, votes, config):
            box, painted = placed[m]
            differs = labels_hw[box] != votes.winners_M[m]
            if votes.areas_M[m] >= large_area and len(self.protected):
                painted = painted & ~(protected_hw[box] & differs)
            if sure_hw is not None:
                painted = painted & ~(sure_hw[box] & differs)
            if said := returned.get(int(votes.winners_M[m])):
                painted = painted & ~np.isin(labels_hw[box], said)
            owners_hw[box][painted] = m
        owners_hw[prediction.ignored_hw] = NO_MASK
        return owners_hw


def vote(labels_hw: LabelArray, ignored_hw: BoolArray, masks: MaskSet, classes: int) -> Votes:
    """Count the assistant's labels inside every mask, and elect; ignored pixels have no vote."""
    return elect(count_labels(labels_hw, ignored_hw, masks, classes))


def _runner_up_rule(label_set: LabelSet, config: FusionConfig) -> RunnerUpRule | None:
    """When thin classes win the masks of stuff, as far as `config` lets them."""
    if config.thin_runner_up == 0:
        return None
    return RunnerUpRule(label_set.stuff, label_set.thin, config.thin_runner_up)


def _weights(masks: MaskSet, votes: Votes, config: FusionConfig) -> npt.NDArray[np.float32] | None:
    """How much each mask counts where views differ.

    Raises:
        ValueError: the masks lack the figure that the settings need.
    """
    if config.weigh_by == "prompt_stability" and masks.prompt_stability_M is None:
        raise ValueError("masks are to weigh by prompt_stability, which was not measured")
    of_masks = {
        "none": None,
        "lcr": votes.coverage_M,
        "predicted_iou": masks.predicted_iou_M,
        "stability": masks.stability_M,
        "prompt_stability": masks.prompt_stability_M,
    }
    return of_masks[config.weigh_by]


def _painting_order(prediction: ViewPrediction, votes: Votes, config: FusionConfig) -> list[int]:
    """Masks from the bottom to the top: by descending area, or by ascending purity, corrected for chance.

    Of equal masks, the later in the generator's order lies on top.
    """
    if config.on_top == "small":
        return np.argsort(-votes.areas_M, kind="stable").tolist()
    counts_B = np.bincount(prediction.labels_hw[~prediction.ignored_hw], minlength=256)
    by_chance_M = counts_B[votes.winners_M] / max(counts_B.sum(), 1)
    purity_M = (votes.coverage_M - by_chance_M) / np.maximum(1 - by_chance_M, 1e-6)
    return np.lexsort((-votes.areas_M, purity_M)).tolist()
