"""Ballots: counts by a loop over masks, winners and their shares by hand-made votes, and votes of joined masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import Votes
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
from pipeline.teacher.masks import MaskSet

WALL, POLE, SKY = range(3)


def ballots_of(labels_MC: list[list[float]], votes_MC: list[list[float]] | None = None) -> Ballots:
    labels = np.array(labels_MC, np.int64)
    voted = labels if votes_MC is None else np.array(votes_MC, np.float32)
    return Ballots(labels, voted, labels.sum(axis=1) + 1)


def two_masks() -> MaskSet:
    """The left half of 2 x 4 pixels, and all of them."""
    masks_Mhw = np.zeros((2, 2, 4), np.bool_)
    masks_Mhw[0, :, :2] = masks_Mhw[1] = True
    return MaskSet.from_dense(masks_Mhw)


@pytest.mark.parametrize("classes", [1, 19, 126, 127, 200])
def test_counts_are_those_of_a_loop_over_full_size_masks(classes: int) -> None:
    """Sizes odd and even, few classes and many: none may take another way to count that counts otherwise."""
    rng = np.random.default_rng(classes)
    shape = (33, 41)
    labels, ignored = rng.integers(0, classes, shape).astype(np.uint8), rng.random(shape) < 0.1
    masks_Mhw = rng.random((9, *shape)) < 0.5
    for flags, size in zip(masks_Mhw, range(1, 28, 3), strict=True):
        flags[size:] = flags[:, size + 1 :] = False
    found = count_labels(labels, ignored, MaskSet.from_dense(masks_Mhw), classes)
    for m, flags in enumerate(masks_Mhw):
        np.testing.assert_array_equal(found.labels_MC[m], np.bincount(labels[flags & ~ignored], minlength=classes))
        assert found.areas_M[m] == flags.sum()
    np.testing.assert_array_equal(found.votes_MC, found.labels_MC)


def test_a_view_without_masks_has_no_ballots() -> None:
    none = MaskSet.from_dense(np.zeros((0, 2, 4), np.bool_))
    found = count_labels(np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.bool_), none, 3)
    assert found.labels_MC.shape == (0, 3) and elect(found).winners_M.shape == (0,)


def test_the_winner_has_most_votes_the_lowest_class_on_ties_and_lcr_is_its_share() -> None:
    votes = elect(ballots_of([[1, 6, 1], [4, 0, 4], [0, 0, 0]]))
    assert votes.winners_M.tolist() == [POLE, WALL, 0]
    np.testing.assert_allclose(votes.coverage_M, [0.75, 0.5, 0])
    assert (votes.winners_M.dtype, votes.coverage_M.dtype) == (np.uint8, np.float32)
    assert votes.areas_M.tolist() == [9, 9, 1]


def test_lcr_is_the_winners_share_of_labels_or_of_what_elected_it() -> None:
    ballots = ballots_of([[6, 2, 0]], [[1.0, 3.0, 0.0]])
    by_labels, by_votes = elect(ballots), elect(ballots, lcr_by="votes")
    assert by_labels.winners_M.tolist() == by_votes.winners_M.tolist() == [POLE]
    assert (by_labels.coverage_M[0], by_votes.coverage_M[0]) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("votes_C", "winner"),
    [
        ([8, 4, 0], POLE),  # half the winner's
        ([9, 4, 0], WALL),  # less
        ([8, 4, 5], WALL),  # the runner-up is sky, to which nothing yields
        ([4, 0, 8], SKY),  # sky yields to nothing
    ],
)
def test_a_wall_yields_to_a_pole_that_is_its_runner_up_with_enough_votes(votes_C: list[int], winner: int) -> None:
    rule = RunnerUpRule(winners=[WALL], runners_up=[POLE], share=0.5)
    ballots = ballots_of([list(votes_C)])
    assert elect(ballots, rule).winners_M.tolist() == [winner]
    assert elect(ballots, rule).coverage_M[0] == pytest.approx(votes_C[winner] / sum(votes_C))


def test_confidence_and_probabilities_vote_pixel_by_pixel_without_ignored_ones() -> None:
    labels_hw = np.array([[0, 1, 1, 2], [0, 0, 1, 2]], np.uint8)
    ignored_hw = np.zeros((2, 4), np.bool_)
    ignored_hw[0, 0] = True
    confidence_hw = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, 0.2]], np.float32)
    probabilities_Chw = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 4)).transpose(2, 0, 1).astype(np.float32)
    seen = ViewPrediction(labels_hw, ignored_hw, confidence_hw, probabilities_Chw)
    by_confidence = weighted_votes(seen, two_masks(), 3, FusionConfig(votes="confidence"))
    assert by_confidence is not None
    np.testing.assert_allclose(by_confidence, [[0.9, 0.8, 0], [0.9, 1.8, 0.8]], atol=1e-6)
    by_probability = weighted_votes(seen, two_masks(), 3, FusionConfig(votes="probabilities"))
    assert by_probability is not None
    for mask_hw, own_C in zip(two_masks().dense(), by_probability, strict=True):
        np.testing.assert_allclose(own_C, probabilities_Chw[:, mask_hw & ~ignored_hw].sum(axis=1), rtol=1e-6)
    assert weighted_votes(seen, two_masks(), 3, FusionConfig()) is None, "every label counts alike"


@pytest.mark.parametrize("votes", ["confidence", "probabilities"])
def test_settings_that_need_probabilities_say_so(votes: str) -> None:
    seen = ViewPrediction(np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.bool_))
    with pytest.raises(ValueError, match="need the assistant's probabilities"):
        weighted_votes(seen, two_masks(), 3, FusionConfig(votes=votes))
    with pytest.raises(ValueError, match="need the assistant's probabilities"):
        require_probabilities(None)


def test_masks_of_one_region_vote_together_and_keep_their_areas() -> None:
    first = ballots_of([[5, 1], [0, 2]], [[0.5, 0.1], [0.0, 0.2]])
    second = ballots_of([[1, 9]], [[0.1, 0.9]])
    joined = pool_by_region([first, second], [np.array([0, 1]), np.array([0])])
    np.testing.assert_array_equal(joined[0].labels_MC, [[6, 10], [0, 2]])
    np.testing.assert_array_equal(joined[1].labels_MC, [[6, 10]])
    np.testing.assert_allclose(joined[0].votes_MC, [[0.6, 1.0], [0.0, 0.2]], atol=1e-6)
    for own, before in zip(joined, (first, second), strict=True):
        np.testing.assert_array_equal(own.areas_M, before.areas_M)


def test_views_without_masks_join_nothing() -> None:
    none = Ballots(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
    (found,) = pool_by_region([none], [np.zeros(0, np.intp)])
    assert found.labels_MC.shape == (0, 2)


def yielded(own_MC: list[list[float]], region_MC: list[list[float]], **fusion: Any) -> Votes:
    own, region = ballots_of(own_MC), ballots_of(region_MC)
    return votes_after_joining(elect(own), elect(region), region, 0.7, FusionConfig(join=0.5, **fusion))


OWN: list[list[float]] = [[8, 2, 0], [6, 4, 0], [6, 4, 0]]
REGION: list[list[float]] = [[2, 18, 0], [2, 18, 0], [9, 11, 0]]


def lcr(votes: Votes) -> npt.NDArray[np.float64]:
    return votes.coverage_M.round(4).astype(np.float64)


def test_every_mask_takes_its_regions_winner_by_default() -> None:
    votes = yielded(OWN, REGION)
    assert votes.winners_M.tolist() == [POLE, POLE, POLE]
    np.testing.assert_allclose(lcr(votes), [0.9, 0.9, 0.55])


def test_with_doubtful_only_masks_in_doubt_take_the_winner_of_a_region_that_is_not() -> None:
    votes = yielded(OWN, REGION, join_rule="doubtful")
    assert votes.winners_M.tolist() == [WALL, POLE, WALL]
    np.testing.assert_allclose(lcr(votes), [0.1, 0.9, 0.45], err_msg="Lcr is the winner's share of the region")


def test_with_purer_a_mask_takes_the_winner_of_a_region_that_is_at_least_as_pure() -> None:
    votes = yielded([[28, 4], [8, 24], [2, 2]], [[36, 28], [72, 24], [5, 5]], join_rule="purer")
    assert votes.winners_M.tolist() == [0, 0, 0]
    np.testing.assert_allclose(lcr(votes), [0.5625, 0.75, 0.5])
    kept = yielded([[8, 24]], [[36, 28]], join_rule="purer")
    assert kept.winners_M.tolist() == [1] and kept.coverage_M[0] == pytest.approx(28 / 64)
    assert kept.areas_M.tolist() == [33], "areas are the mask's own"
