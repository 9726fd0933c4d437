"""Ballots: what the assistant says inside each mask, the winner that this elects, and votes of several masks together.

Legend: C classes, h w view, M masks of one view, R regions of the panorama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray, LabelArray
from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import Votes
from pipeline.teacher.masks import MaskSet


@dataclass(frozen=True, eq=False)
class ViewPrediction:
    """The assistant's prediction in one view."""

    labels_hw: LabelArray
    """Class ids."""
    ignored_hw: BoolArray
    """Pixels without vote or region."""
    confidence_hw: FloatArray | None = None
    """Probability of the label; needed for some settings."""
    probabilities_Chw: FloatArray | None = None
    """Of all classes; needed for some settings."""


@dataclass(frozen=True, eq=False)
class Ballots:
    """The votes inside each mask of a view."""

    labels_MC: npt.NDArray[np.int64]
    """Pixels by the assistant's label, without ignored ones."""
    votes_MC: npt.NDArray[np.integer] | npt.NDArray[np.floating]
    """What elects the winner: these pixels, or probabilities."""
    areas_M: npt.NDArray[np.int64]
    """Pixels, ignored ones too."""


def count_labels(labels_hw: LabelArray, ignored_hw: BoolArray, masks: MaskSet, classes: int) -> Ballots:
    """The assistant's labels inside every mask; ignored pixels have no vote."""
    labels_or_ignore_hw = labels_hw | -ignored_hw.view(np.uint8)  # IGNORE, which is all ones, where ignored
    counts_MB = np.zeros((len(masks), 256), np.int64)
    for counts_B, (box, bitmap) in zip(counts_MB, masks.placed(), strict=True):
        counts_B[:] = cv2.calcHist([labels_or_ignore_hw[box]], [0], bitmap.view(np.uint8), [256], [0, 256]).ravel()
    labels_MC = counts_MB[:, :classes]
    return Ballots(labels_MC, labels_MC, counts_MB.sum(axis=1))


class RunnerUpRule(NamedTuple):
    """When a mask goes to the runner-up: masks of large stuff swallow the small things in front of it."""

    winners: Sequence[int]
    """Ids of classes that yield."""
    runners_up: Sequence[int]
    """Ids of classes that they yield to."""
    share: float
    """Of the winner's votes, in (0, 1]: the runner-up needs at least as many."""


def elect(ballots: Ballots, rule: RunnerUpRule | None = None, lcr_by: str = "labels") -> Votes:
    """The winner of every mask, and its share of the labels or of the votes.

    Args:
        ballots: the votes.
        rule: when the runner-up wins; None: never.
        lcr_by: `fusion.lcr_by`.
    """
    winners_M = _winners(ballots.votes_MC, rule)
    return Votes(winners_M.astype(np.uint8), _coverage(ballots, winners_M, lcr_by), ballots.areas_M)


def _coverage(ballots: Ballots, winners_M: npt.NDArray[np.integer], lcr_by: str) -> npt.NDArray[np.float32]:
    """The share that each mask's winner has of its labels, or of its votes."""
    shared_MC = ballots.votes_MC if lcr_by == "votes" else ballots.labels_MC
    own_M = np.take_along_axis(shared_MC, winners_M[:, None].astype(np.intp), axis=1)[:, 0]
    all_M = shared_MC.sum(axis=1)
    return (own_M / np.where(all_M > 0, all_M, 1)).astype(np.float32)


def votes_after_joining(
    own: Votes, region: Votes, of_region: Ballots, theta_M: FloatArray | float, config: FusionConfig
) -> Votes:
    """The votes of a view's masks after they were joined: which of them take their region's winner.

    A region is a chain of masks that resemble each other. If one of them is clearly wall and the others are clearly
    building, the chain has gone too far; if none is clear and all together are not, they are not one thing either.

    Args:
        own: of each mask alone.
        region: of each mask's region.
        of_region: the ballots that elected these.
        theta_M: Lcr from which each is reliable, or that of all.
        config: has the rule (`join_rule`).
    """
    if config.join_rule == "all":
        return region
    if config.join_rule == "purer":
        yields_M = region.coverage_M >= own.coverage_M
    else:
        yields_M = (own.coverage_M < theta_M) & (region.coverage_M >= theta_M)
    winners_M = np.where(yields_M, region.winners_M, own.winners_M)
    return Votes(winners_M, _coverage(of_region, winners_M, config.lcr_by), own.areas_M)


def _winners(
    votes_MC: npt.NDArray[np.integer] | npt.NDArray[np.floating], rule: RunnerUpRule | None
) -> npt.NDArray[np.intp]:
    """The class with most votes, the lowest on ties, or the second where the rule says so."""
    first_M = votes_MC.argmax(axis=1)
    if rule is None:
        return first_M
    masks = np.arange(len(votes_MC))
    others_MC = votes_MC.copy()
    others_MC[masks, first_M] = -1
    second_M = others_MC.argmax(axis=1)
    has_enough_M = votes_MC[masks, second_M] >= np.maximum(rule.share * votes_MC[masks, first_M], np.float32(1e-6))
    yields_M = np.isin(first_M, rule.winners) & np.isin(second_M, rule.runners_up) & has_enough_M
    return np.where(yields_M, second_M, first_M)


def pool_by_region(ballots: Sequence[Ballots], regions: Sequence[npt.NDArray[np.intp]]) -> list[Ballots]:
    """The votes of each view's masks with those of all masks of the same region; areas stay the masks' own.

    Args:
        ballots: of every view.
        regions: number of the region of each of its masks, [M] (`joined_regions`).
    """
    numbers = np.concatenate(regions)
    count_of = int(numbers.max(initial=-1)) + 1

    def sums(votes: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        every_MC = np.concatenate(votes)
        sums_RC = np.zeros((count_of, every_MC.shape[1]), every_MC.dtype)
        np.add.at(sums_RC, numbers, every_MC)
        return sums_RC

    labels_RC = sums([own.labels_MC for own in ballots])
    votes_RC = sums([own.votes_MC for own in ballots])
    return [
        Ballots(labels_RC[own_regions], votes_RC[own_regions], own.areas_M)
        for own, own_regions in zip(ballots, regions, strict=True)
    ]


def weighted_votes(
    prediction: ViewPrediction, masks: MaskSet, classes: int, config: FusionConfig
) -> npt.NDArray[np.float32] | None:
    """The votes [M, C] by probability; None where every label counts alike.

    Raises:
        ValueError: probabilities are missing.
    """
    if config.votes == "labels":
        return None
    votes_MC = np.zeros((len(masks), classes), np.float32)
    valid_hw = ~prediction.ignored_hw
    if config.votes == "confidence":
        confidence_hw = require_probabilities(prediction.confidence_hw)
        for votes_C, (box, bitmap) in zip(votes_MC, masks.placed(), strict=True):
            own = bitmap & valid_hw[box]
            votes_C[:] = np.bincount(prediction.labels_hw[box][own], confidence_hw[box][own], minlength=classes)
        return votes_MC
    probabilities_Chw = require_probabilities(prediction.probabilities_Chw)
    for votes_C, (box, bitmap) in zip(votes_MC, masks.placed(), strict=True):
        own = (bitmap & valid_hw[box]).astype(np.float32)
        votes_C[:] = np.tensordot(probabilities_Chw[:, *box], own, axes=2)
    return votes_MC


def require_probabilities(values: FloatArray | None) -> FloatArray:
    """Probabilities that some settings need.

    Raises:
        ValueError: they are not given.
    """
    if values is None:
        raise ValueError("these settings of fusion need the assistant's probabilities, which are not given")
    return values
