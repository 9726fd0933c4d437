"""Fusion: every rule by a hand-made example, all of them against a loop over masks and pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.compose import Fusion, compose_view
from pipeline.ensemble.config import FusionConfig, given_back
from pipeline.errors import RecipeError
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import Window, cut, window_grid
from pipeline.teacher.ballots import ViewPrediction
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.vote import fuse, vote_in_view, vote_in_views

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

GREY = (0, 0, 0)
FOUR = LabelSet("four", ("road", "wall", "pole", "sky"), (GREY,) * 4, thin=(2,), stuff=(0, 1))
ROAD, WALL, POLE, SKY = range(4)
DEFAULT = FusionConfig()
SIZE = 8


def fuse_window(
    probabilities_Chw: Floats, agreement_hw: Floats, ignored_hw: Bools, masks: MaskSet, config: FusionConfig = DEFAULT
) -> Fusion:
    """One window by itself, without weights."""
    window = Window(0, 0, *ignored_hw.shape)
    (regions,) = vote_in_views(probabilities_Chw, ignored_hw, [window], [masks], FOUR, config)
    return compose_view(probabilities_Chw, agreement_hw, ignored_hw, regions, config)


def mask_set(flags_Mhw: list[Bools], shape: tuple[int, int] = (SIZE, SIZE)) -> MaskSet:
    return MaskSet.from_dense(np.array(flags_Mhw, np.bool_).reshape(-1, *shape))


def area(rows: slice, columns: slice, shape: tuple[int, int] = (SIZE, SIZE)) -> Bools:
    flags = np.zeros(shape, np.bool_)
    flags[rows, columns] = True
    return flags


def sure(labels_hw: npt.NDArray[np.integer], probability: float = 0.9, classes: int = 4) -> Floats:
    """Probabilities whose argmax is the labels; the rest is shared evenly."""
    one_hot = labels_hw[None] == np.arange(classes)[:, None, None]
    return np.where(one_hot, probability, (1 - probability) / (classes - 1)).astype(np.float32)


def fused(
    labels_hw: npt.NDArray[np.integer],
    flags: list[Bools],
    config: FusionConfig = DEFAULT,
    *,
    probability: float = 0.9,
    agreement: float = 1.0,
    ignored_hw: Bools | None = None,
) -> Fusion:
    shape = labels_hw.shape
    ignored = np.zeros(shape, np.bool_) if ignored_hw is None else ignored_hw
    return fuse_window(
        sure(labels_hw, probability),
        np.full(shape, agreement, np.float32),
        ignored,
        mask_set(flags, shape),
        config,
    )


LEFT_HALF = area(slice(0, 8), slice(0, 4))


def mostly_wall(minority: int, wrong: int = 8) -> npt.NDArray[np.uint8]:
    """The left half (32 pixels) is wall but for `wrong` pixels of `minority`; the right half is sky."""
    labels = np.full((SIZE, SIZE), SKY, np.uint8)
    labels[:, :4] = WALL
    labels[: wrong // 4, :4] = minority
    return labels


def test_the_winner_is_painted_over_the_whole_mask() -> None:
    result = fused(mostly_wall(ROAD), [LEFT_HALF])
    assert (result.labels_HW[:, :4] == WALL).all()
    assert (result.labels_HW[:, 4:] == SKY).all()


def test_the_soft_form_gives_the_winner_its_coverage_and_the_assistant_the_rest() -> None:
    result = fused(mostly_wall(ROAD), [LEFT_HALF])
    soft_C = result.ensemble_CHW[:, 0, 0]
    rest = 0.1 / 3
    np.testing.assert_allclose(soft_C, [0.25 * 0.9, 0.75 + 0.25 * rest, 0.25 * rest, 0.25 * rest], atol=1e-6)
    np.testing.assert_allclose(result.ensemble_CHW.sum(axis=0), 1, atol=1e-6)


def test_ties_go_to_the_lower_label() -> None:
    result = fused(mostly_wall(ROAD, wrong=16), [LEFT_HALF])
    assert (result.labels_HW[:, :4] == ROAD).all()


@pytest.mark.parametrize(("theta", "reliable"), [(0.75, True), (0.76, False)])
def test_a_mask_is_reliable_from_theta_on(theta: float, reliable: bool) -> None:
    result = fused(mostly_wall(ROAD), [LEFT_HALF], FusionConfig(theta=theta))
    assert (result.reliable_HW[:, :4] == reliable).all()
    assert result.reliable_HW[:, 4:].all()


def test_unreliable_masks_are_painted_or_kept_as_requested() -> None:
    paint = fused(mostly_wall(ROAD), [LEFT_HALF], FusionConfig(theta=0.8, unreliable="paint"))
    keep = fused(mostly_wall(ROAD), [LEFT_HALF], FusionConfig(theta=0.8, unreliable="keep"))
    assert (paint.labels_HW[:, :4] == WALL).all()
    np.testing.assert_array_equal(keep.labels_HW, mostly_wall(ROAD))
    np.testing.assert_array_equal(keep.ensemble_CHW, sure(mostly_wall(ROAD)))
    assert not paint.reliable_HW[:, :4].any()
    assert not keep.reliable_HW[:, :4].any()


@pytest.mark.parametrize("small_first", [True, False])
def test_small_masks_win_over_large_ones(small_first: bool) -> None:
    labels = mostly_wall(ROAD)
    small = area(slice(0, 2), slice(0, 4))
    order = [small, LEFT_HALF] if small_first else [LEFT_HALF, small]
    result = fused(labels, order)
    np.testing.assert_array_equal(result.labels_HW, labels)
    assert result.reliable_HW.all()


def test_an_unreliable_small_mask_on_a_reliable_one_is_unreliable() -> None:
    labels = mostly_wall(ROAD)
    small = area(slice(1, 3), slice(0, 4))
    result = fused(labels, [LEFT_HALF, small])
    assert not result.reliable_HW[1:3, :4].any()
    assert result.reliable_HW[3:, :4].all()


def test_of_equal_masks_the_later_one_wins() -> None:
    """The order of masks of one area is the generator's: swapping them may change the result, and is meant to."""
    labels = np.full((SIZE, SIZE), SKY, np.uint8)
    labels[:, :2], labels[:, 4:6] = ROAD, WALL
    labels[:, 2:4] = POLE
    plain = FusionConfig(protect_thin=False)
    left, right = area(slice(0, 8), slice(0, 4)), area(slice(0, 8), slice(2, 6))
    assert (fused(labels, [left, right], plain).labels_HW[:, 2:4] == WALL).all()
    assert (fused(labels, [right, left], plain).labels_HW[:, 2:4] == ROAD).all()


@pytest.mark.parametrize("large_mask", [0.02, 0.5])
def test_thin_classes_survive_a_large_mask_of_another_class(large_mask: float) -> None:
    labels = mostly_wall(POLE)
    result = fused(labels, [LEFT_HALF], FusionConfig(large_mask=large_mask))
    np.testing.assert_array_equal(result.labels_HW, labels)
    np.testing.assert_array_equal(result.ensemble_CHW[:, :2], sure(labels)[:, :2])


@pytest.mark.parametrize("config", [FusionConfig(protect_thin=False), FusionConfig(large_mask=0.51)])
def test_thin_classes_are_painted_over_without_protection_or_by_small_masks(config: FusionConfig) -> None:
    result = fused(mostly_wall(POLE), [LEFT_HALF], config)
    assert (result.labels_HW[:, :4] == WALL).all()


def test_a_large_mask_won_by_a_thin_class_is_painted() -> None:
    result = fused(mostly_wall(ROAD) * 0 + np.where(LEFT_HALF, POLE, SKY), [LEFT_HALF])
    np.testing.assert_array_equal(result.labels_HW[:, :4], POLE)
    np.testing.assert_allclose(result.ensemble_CHW[POLE, :, :4], 1)


@pytest.mark.parametrize(
    ("probability", "agreement", "reliable"), [(0.9, 0.9, True), (0.6, 0.9, False), (0.9, 0.7, False)]
)
def test_uncovered_pixels_keep_the_assistant_and_rely_on_its_confidence_and_agreement(
    probability: float, agreement: float, reliable: bool
) -> None:
    labels = mostly_wall(ROAD)
    result = fused(labels, [], probability=probability, agreement=agreement)
    np.testing.assert_array_equal(result.labels_HW, labels)
    np.testing.assert_array_equal(result.ensemble_CHW, sure(labels, probability))
    assert (result.reliable_HW == reliable).all()


def test_ignored_pixels_neither_vote_nor_get_a_label() -> None:
    """Without the ignored road, the mask is wall through and through."""
    ignored = area(slice(0, 6), slice(0, 4))
    result = fused(mostly_wall(ROAD, wrong=24), [LEFT_HALF], ignored_hw=ignored)
    assert (result.labels_HW[ignored] == IGNORE).all()
    assert not result.reliable_HW[ignored].any()
    np.testing.assert_allclose(result.ensemble_CHW[WALL, 6:, :4], 1)


def test_masks_without_a_valid_pixel_or_any_pixel_are_skipped() -> None:
    labels, nothing = mostly_wall(ROAD), np.zeros((SIZE, SIZE), np.bool_)
    result = fused(labels, [LEFT_HALF, nothing], ignored_hw=LEFT_HALF)
    np.testing.assert_array_equal(result.labels_HW, np.where(LEFT_HALF, IGNORE, labels))
    assert np.isfinite(result.ensemble_CHW).all()


def by_the_loop(
    probabilities: Floats, agreement: Floats, ignored: Bools, flags: list[Bools], config: FusionConfig
) -> tuple[npt.NDArray[np.int64], Floats, Bools]:
    """The rules, one mask and one pixel at a time: (labels, soft, reliable)."""
    classes, height, width = probabilities.shape
    assistant = probabilities.argmax(axis=0)
    labels, soft = assistant.astype(np.int64), probabilities.copy()
    sureness = probabilities.max(axis=0)
    reliable = (sureness >= config.uncovered_confidence) & (agreement >= config.uncovered_agreement)
    shares = [(assistant[~ignored] == c).mean() if (~ignored).any() else 0 for c in range(classes)]
    protected = [
        c for c in range(classes) if (config.protect_thin and c in FOUR.thin) or shares[c] < config.protect_rare
    ]

    def elected(flag: Bools) -> tuple[int, np.float32]:
        pixels = [(y, x) for y, x in np.argwhere(flag & ~ignored)]
        ballots = np.zeros(classes)
        for y, x in pixels:
            own = np.arange(classes) == assistant[y, x]
            ballots += {"labels": own, "confidence": own * sureness[y, x], "probabilities": probabilities[:, y, x]}[
                config.votes
            ]
        winner = int(ballots.argmax())
        if config.lcr_by == "votes":
            return winner, np.float32(ballots[winner] / ballots.sum() if pixels else 0)
        return winner, np.float32(sum(assistant[y, x] == winner for y, x in pixels) / max(len(pixels), 1))

    def height_of(flag: Bools) -> tuple[float, int]:
        winner, coverage = elected(flag)
        purity = (coverage - shares[winner]) / max(1 - shares[winner], 1e-6)
        return (0.0 if config.on_top == "small" else float(purity), -int(flag.sum()))

    for flag in sorted(flags, key=height_of):
        if not (flag & ~ignored).any():
            continue
        winner, coverage = elected(flag)  # 0 where the winner by probabilities is no pixel's most probable class
        large = flag.sum() >= config.large_mask * height * width
        for y, x in np.argwhere(flag & ~ignored):
            own = assistant[y, x]
            if own != winner and large and own in protected:
                continue
            if own != winner and 0 < config.keep_confidence <= sureness[y, x]:
                continue
            reliable[y, x] = coverage >= config.theta
            paint = config.unreliable == "paint" or coverage >= config.theta
            labels[y, x] = winner if paint else own
            one_hot = np.arange(classes) == winner
            soft[:, y, x] = probabilities[:, y, x]
            if paint:
                soft[:, y, x] = coverage * one_hot + (1 - coverage) * probabilities[:, y, x]
    labels[ignored], reliable[ignored] = IGNORE, False
    return labels, soft, reliable


CONFIGS = st.builds(
    FusionConfig,
    theta=st.sampled_from((0.3, 0.5, 0.7)),
    unreliable=st.sampled_from(("paint", "keep")),
    protect_thin=st.booleans(),
    large_mask=st.sampled_from((0.0, 0.1, 0.4)),
    uncovered_confidence=st.just(0.5),
    uncovered_agreement=st.just(0.3),
    protect_rare=st.sampled_from((0.0, 0.2, 0.3)),
    keep_confidence=st.sampled_from((0.0, 0.6, 0.9)),
    votes=st.sampled_from(("labels", "confidence", "probabilities")),
    lcr_by=st.sampled_from(("labels", "votes")),
    on_top=st.sampled_from(("small", "pure")),
)


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), CONFIGS)
def test_fusion_equals_the_loop_over_masks_and_pixels(seed: int, masks: int, config: FusionConfig) -> None:
    rng = np.random.default_rng(seed)
    shape = (7, 9)
    probabilities = rng.dirichlet(np.full(4, 0.4), shape).transpose(2, 0, 1).astype(np.float32)
    agreement, ignored = rng.random(shape, np.float32), rng.random(shape) < 0.15
    flags = [
        area(slice(y, y + rng.integers(1, 6)), slice(x, x + rng.integers(1, 8)), shape) & (rng.random(shape) < 0.8)
        for y, x in rng.integers(0, 6, (masks, 2))
    ]
    result = fuse_window(probabilities, agreement, ignored, mask_set(flags, shape), config)
    labels, soft, reliable = by_the_loop(probabilities, agreement, ignored, flags, config)
    np.testing.assert_array_equal(result.labels_HW, labels)
    np.testing.assert_allclose(result.ensemble_CHW, soft, atol=1e-6)
    np.testing.assert_array_equal(result.reliable_HW, reliable)


def test_a_sure_minority_elects_the_winner_where_probabilities_vote_and_lcr_stays_its_share_of_labels() -> None:
    """20 pixels of the mask are narrowly road, 12 surely wall."""
    labels = np.full((SIZE, SIZE), ROAD, np.uint8)
    labels[:3, :4] = WALL
    probabilities = np.where(labels == ROAD, sure(labels, 0.4), sure(labels, 0.97))
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    for votes, winner, lcr in (
        ("labels", ROAD, 20 / 32),
        ("confidence", WALL, 12 / 32),
        ("probabilities", WALL, 12 / 32),
    ):
        found = fuse_window(probabilities, one, no, mask_set([LEFT_HALF]), FusionConfig(votes=votes))
        assert (found.labels_HW[:, :4] == winner).all()
        own = probabilities[winner, :, :4]
        np.testing.assert_allclose(found.ensemble_CHW[winner, :, :4], lcr + (1 - lcr) * own, atol=1e-6)


def test_lcr_by_votes_is_the_winners_share_of_what_elected_it() -> None:
    """The weight map of GoodSAM++: 20 pixels of the mask are narrowly road (0.4), 12 surely wall (0.97)."""
    labels = np.full((SIZE, SIZE), ROAD, np.uint8)
    labels[:3, :4] = WALL
    probabilities = np.where(labels == ROAD, sure(labels, 0.4), sure(labels, 0.97))
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    config = FusionConfig(votes="confidence", lcr_by="votes", theta=0.55)
    found = fuse_window(probabilities, one, no, mask_set([LEFT_HALF]), config)
    lcr = 12 * 0.97 / (12 * 0.97 + 20 * 0.4)  # 0.593; by labels it is 12 / 32
    own = probabilities[WALL, :, :4]
    np.testing.assert_allclose(found.ensemble_CHW[WALL, :, :4], lcr + (1 - lcr) * own, atol=1e-6)
    assert found.reliable_HW[:, :4].all()


def test_a_class_that_is_rare_in_the_panorama_is_protected_from_large_masks() -> None:
    labels = np.full((SIZE, SIZE), ROAD, np.uint8)
    labels[0, :2] = WALL  # 2 of 64 pixels
    everything = area(slice(0, SIZE), slice(0, SIZE))
    kept, painted = (fused(labels, [everything], FusionConfig(protect_rare=share)) for share in (0.04, 0.03))
    np.testing.assert_array_equal(kept.labels_HW, labels)
    assert (painted.labels_HW == ROAD).all()


def test_pixels_of_which_the_assistant_is_sure_keep_their_label() -> None:
    labels = np.full((SIZE, SIZE), ROAD, np.uint8)
    labels[0], labels[1] = WALL, SKY
    probabilities = sure(labels, 0.6)
    probabilities[:, 0] = sure(labels, 0.95)[:, 0]
    everything = area(slice(0, SIZE), slice(0, SIZE))
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    found = fuse_window(probabilities, one, no, mask_set([everything]), FusionConfig(keep_confidence=0.9))
    assert (found.labels_HW[0] == WALL).all() and (found.labels_HW[1:] == ROAD).all()


@pytest.mark.parametrize(
    ("weigh_by", "label"),
    [("none", SKY), ("lcr", SKY), ("predicted_iou", WALL), ("stability", WALL), ("prompt_stability", WALL)],
)
def test_where_windows_differ_the_better_mask_can_win(weigh_by: str, label: int) -> None:
    """Columns 34 to 39 are nearer the middle of the second window, whose mask says sky; the first's says wall."""
    labels = np.full((32, 128), SKY, np.uint8)
    labels[:, 16:37] = WALL
    windows = window_grid(32, 128, WindowConfig(32, 64, 32, 32))
    first = MaskSet.from_dense([area(slice(0, 32), slice(16, 52), (32, 64))], [0.9], [0.9])
    second = MaskSet.from_dense([area(slice(0, 32), slice(2, 60), (32, 64))], [0.1], [0.1])
    nothing = MaskSet.from_dense(np.zeros((0, 32, 64), np.bool_))
    first, second, nothing = (
        dataclasses.replace(masks, prompt_stability_M=masks.stability_M) for masks in (first, second, nothing)
    )
    no, one = np.zeros(labels.shape, np.bool_), np.ones(labels.shape, np.float32)
    config = FusionConfig(weigh_by=weigh_by)
    found = fuse(sure(labels), one, no, windows, [first, second, nothing, nothing], FOUR, config)
    assert (found.labels_HW[:, 50:52] == label).all()


@pytest.mark.parametrize(
    ("share", "thin", "votes", "label"),
    [(0.3, POLE, "labels", POLE), (0.3, POLE, "probabilities", POLE), (0.4, POLE, "labels", WALL),
     (0.3, SKY, "labels", WALL), (0.0, POLE, "labels", WALL)],
)  # fmt: skip
def test_a_mask_of_stuff_goes_to_a_thin_runner_up_with_enough_votes(
    share: float, thin: int, votes: str, label: int
) -> None:
    """8 of the mask's 32 pixels are the minority's: a third of the winner's 24."""
    config = FusionConfig(thin_runner_up=share, votes=votes, protect_thin=False)
    found = fused(mostly_wall(thin), [LEFT_HALF], config)
    assert (found.labels_HW[:, :4] == label).all()
    assert not (found.reliable_HW[:, :4].any() and label == POLE)  # Lcr is the share of the pole


def test_a_mask_of_things_yields_to_no_runner_up() -> None:
    labels = np.where(mostly_wall(POLE) == WALL, np.uint8(SKY), mostly_wall(POLE))  # sky is no stuff in FOUR
    found = fused(labels, [LEFT_HALF], FusionConfig(thin_runner_up=0.1, protect_thin=False))
    assert (found.labels_HW[:, :4] == SKY).all()


def test_confusions_that_are_listed_are_given_back_to_the_assistant() -> None:
    given, not_given = (
        fused(mostly_wall(ROAD), [LEFT_HALF], FusionConfig(give_back=(entry,)))
        for entry in ("Road in wall", "wall in road")
    )
    np.testing.assert_array_equal(given.labels_HW, mostly_wall(ROAD))
    assert (not_given.labels_HW[:, :4] == WALL).all()


def test_classes_given_back_may_have_an_in_of_their_own_in_their_names() -> None:
    label_set = LabelSet("two", ("man in car", "car"), (GREY,) * 2, thin=())
    assert given_back(FusionConfig(give_back=("man in car in car",)), label_set) == {1: [0]}


@pytest.mark.parametrize("entry", ["road", "tree in road", "road in", "road on wall"])
def test_confusions_of_unknown_classes_are_refused(entry: str) -> None:
    with pytest.raises(RecipeError, match=r"fusion.give_back is '.*two classes of four, as in .sky in road"):
        given_back(FusionConfig(give_back=(entry,)), FOUR)


def test_masks_of_which_the_stability_under_moved_prompts_was_not_measured_cannot_weigh_by_it() -> None:
    with pytest.raises(ValueError, match="prompt_stability, which was not measured"):
        fused(mostly_wall(ROAD), [LEFT_HALF], FusionConfig(weigh_by="prompt_stability"))


def test_of_a_prompts_masks_the_largest_with_a_class_votes_alone() -> None:
    """Everything is a mask, but mostly of no one class; its left half, of the same prompt, is wall."""
    labels = mostly_wall(ROAD)
    labels[4:, 4:] = ROAD
    masks = mask_set([area(slice(0, SIZE), slice(0, SIZE)), LEFT_HALF])
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    for prompts, label in (([0, 0], SKY), ([0, 1], ROAD)):
        own = dataclasses.replace(masks, prompts_M=np.array(prompts, np.int32))
        found = fuse_window(sure(labels), one, no, own, FusionConfig(one_per_prompt=True))
        assert (found.labels_HW[:, :4] == WALL).all() and found.labels_HW[0, 7] == label


@pytest.mark.parametrize("change", [{"votes": "confidence"}, {"votes": "probabilities"}, {"keep_confidence": 0.5}])
def test_a_view_without_the_probabilities_that_settings_need_is_refused(change: dict[str, Any]) -> None:
    labels, no = mostly_wall(ROAD), np.zeros((SIZE, SIZE), np.bool_)
    with pytest.raises(ValueError, match="need the assistant's probabilities"):
        vote_in_view(ViewPrediction(labels, no), mask_set([LEFT_HALF]), FOUR, (), FusionConfig(**change))


def panorama_case(seed: int) -> tuple[Floats, Floats, Bools, tuple[Window, ...], list[list[Bools]]]:
    rng = np.random.default_rng(seed)
    height, width = 32, 128
    windows = window_grid(height, width, WindowConfig(32, 64, 32, 32))
    probabilities = rng.dirichlet(np.full(4, 0.4), (height, width)).transpose(2, 0, 1).astype(np.float32)
    agreement, ignored = rng.random((height, width), np.float32), rng.random((height, width)) < 0.1
    flags = [
        [area(slice(y, y + 9), slice(x, x + 20), (32, 64)) for y, x in rng.integers(0, 40, (5, 2)) % (24, 50)]
        for _ in windows
    ]
    return probabilities, agreement, ignored, windows, flags


def sets(flags_K: list[list[Bools]]) -> list[MaskSet]:
    return [mask_set(flags, (32, 64)) for flags in flags_K]


def test_the_panorama_is_the_weighted_mean_of_its_windows() -> None:
    """Half-overlapping windows: every pixel has two, whose sin^2 weights sum to one."""
    probabilities, agreement, ignored, windows, flags = panorama_case(1)
    result = fuse(probabilities, agreement, ignored, windows, sets(flags), FOUR, DEFAULT)
    parts = [
        fuse_window(cut(probabilities, w, axis=1), cut(agreement, w), cut(ignored, w), own)
        for w, own in zip(windows, sets(flags), strict=True)
    ]
    weight = np.sin(np.pi * (np.arange(64) + 0.5) / 64) ** 2
    soft = weight[32:] * parts[0].ensemble_CHW[..., 32:] + weight[:32] * parts[1].ensemble_CHW[..., :32]
    vote = weight[32:] * parts[0].reliable_HW[:, 32:] + weight[:32] * parts[1].reliable_HW[:, :32]
    np.testing.assert_allclose(result.ensemble_CHW[..., 32:64], soft, atol=1e-5)
    np.testing.assert_array_equal(result.reliable_HW[:, 32:64], vote >= 0.5)
    first, second = (np.arange(4)[:, None, None] == part.labels_HW for part in parts[:2])
    hard = weight[32:] * first[..., 32:] + weight[:32] * second[..., :32]
    expected = np.where(ignored[:, 32:64], IGNORE, hard.argmax(axis=0))
    np.testing.assert_array_equal(result.labels_HW[:, 32:64], expected)


@pytest.mark.parametrize(("unreliable", "painted"), [("paint", True), ("keep", False)])
def test_a_winner_with_less_than_half_of_its_mask_is_painted_over_all_of_it(unreliable: str, painted: bool) -> None:
    """40 % sky, 30 % wall, 30 % pole, of which the assistant is certain: the soft form leaves it its labels."""
    labels = np.full((32, 128), SKY, np.uint8)
    labels[:, 40:100] = np.repeat((SKY, WALL, POLE), (24, 18, 18)).astype(np.uint8)
    (window,) = window_grid(32, 128, WindowConfig(32, 128, 32, 128))
    mask = mask_set([area(slice(0, 32), slice(40, 100), (32, 128))], (32, 128))
    no, one = np.zeros(labels.shape, np.bool_), np.ones(labels.shape, np.float32)
    config = FusionConfig(unreliable=unreliable, protect_thin=False)
    result = fuse(sure(labels, 0.9), one, no, (window,), [mask], FOUR, config)
    np.testing.assert_array_equal(result.labels_HW, np.full_like(labels, SKY) if painted else labels)
    np.testing.assert_array_equal(result.ensemble_CHW.argmax(axis=0), labels)
    assert not result.reliable_HW[:, 40:100].any()


def test_a_mask_cut_off_by_the_frame_yields_to_the_neighbour_that_sees_it_whole() -> None:
    labels = np.full((32, 128), SKY, np.uint8)
    windows = window_grid(32, 128, WindowConfig(32, 64, 32, 32))
    flags: list[list[Bools]] = [[] for _ in windows]
    labels[:, 58:62] = WALL
    flags[0] = [area(slice(0, 32), slice(57, 64), (32, 64))]
    flags[1] = [area(slice(0, 32), slice(26, 30), (32, 64)), area(slice(0, 32), slice(30, 40), (32, 64))]
    no, one = np.zeros(labels.shape, np.bool_), np.ones(labels.shape, np.float32)
    result = fuse(sure(labels), one, no, windows, sets(flags), FOUR, DEFAULT)
    np.testing.assert_array_equal(result.labels_HW, labels)
    assert result.reliable_HW[:, 58:64].all()


@settings(max_examples=8)
@given(st.integers(0, 3), st.integers(0, 1000))
def test_turning_the_camera_turns_the_fusion(steps: int, seed: int) -> None:
    """A roll by whole strides, seam and all; masks move along with their windows."""
    probabilities, agreement, ignored, windows, flags = panorama_case(seed)
    config = dataclasses.replace(DEFAULT, protect_thin=False)
    straight = fuse(probabilities, agreement, ignored, windows, sets(flags), FOUR, config)
    turned = fuse(
        np.roll(probabilities, 32 * steps, axis=2),
        np.roll(agreement, 32 * steps, axis=1),
        np.roll(ignored, 32 * steps, axis=1),
        windows,
        sets(flags[-steps:] + flags[:-steps] if steps else flags),
        FOUR,
        config,
    )
    np.testing.assert_allclose(turned.ensemble_CHW, np.roll(straight.ensemble_CHW, 32 * steps, axis=2), atol=1e-6)


def test_fusion_is_deterministic_and_leaves_its_input_alone() -> None:
    probabilities, agreement, ignored, windows, flags = panorama_case(3)
    before = probabilities.copy()
    first, second = (fuse(probabilities, agreement, ignored, windows, sets(flags), FOUR, DEFAULT) for _ in range(2))
    np.testing.assert_array_equal(probabilities, before)
    np.testing.assert_array_equal(first.labels_HW, second.labels_HW)
    np.testing.assert_array_equal(first.ensemble_CHW, second.ensemble_CHW)
    np.testing.assert_array_equal(first.reliable_HW, second.reliable_HW)


def road_that_two_windows_see(config: FusionConfig) -> Fusion:
    """A road that both windows see; where only the right one looks, the assistant takes most of it for a wall."""
    labels = np.full((SIZE, 12), SKY, np.uint8)
    labels[4:, :] = ROAD
    labels[4:, 7:] = WALL
    windows = [Window(0, 0, SIZE, 8), Window(0, 4, SIZE, 8)]
    road = mask_set([area(slice(4, 8), slice(0, 8))])
    arrays = sure(labels), np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    return fuse(*arrays, windows, [road, road], FOUR, config)


def test_masks_of_overlapping_windows_vote_alone_or_as_one_region() -> None:
    alone, joined = (road_that_two_windows_see(FusionConfig(join=join, theta=0.6)) for join in (0.0, 0.5))
    assert (alone.labels_HW[4:, 8:] == WALL).all()  # 20 of the right mask's 32 pixels
    assert (joined.labels_HW[4:] == ROAD).all()  # 40 of both masks' 64
    assert joined.reliable_HW[4:].all()
    np.testing.assert_array_equal(joined.labels_HW[:4], SKY)


def test_with_join_rule_doubtful_a_mask_that_is_sure_keeps_its_winner_and_the_region_says_how_reliable_it_is() -> None:
    found = road_that_two_windows_see(FusionConfig(join=0.5, join_rule="doubtful", theta=0.6))
    assert (found.labels_HW[4:, 8:] == WALL).all()  # 20 of its 32 pixels are above theta
    assert not found.reliable_HW[4:, 8:].any()  # 24 of the region's 64 are not
    assert (found.labels_HW[4:, :4] == ROAD).all() and found.reliable_HW[4:, :4].all()


def test_with_join_rule_doubtful_no_mask_takes_the_winner_of_a_region_that_is_not_reliable() -> None:
    found = road_that_two_windows_see(FusionConfig(join=0.5, join_rule="doubtful", theta=0.7))
    assert (found.labels_HW[4:, 8:] == WALL).all() and (found.labels_HW[4:, :4] == ROAD).all()
    assert not found.reliable_HW[4:].any()  # 28 of the left mask's 32 would be, 40 of the region's 64 are not


def test_with_join_rule_doubtful_a_mask_in_doubt_takes_the_winner_of_a_reliable_region() -> None:
    labels = np.full((SIZE, 20), SKY, np.uint8)
    labels[4:, :] = ROAD
    labels[4:, 15:] = WALL
    windows = [Window(0, 0, SIZE, 16), Window(0, 12, SIZE, 8)]
    masks = [mask_set([area(slice(4, 8), slice(0, width), (SIZE, width))], (SIZE, width)) for width in (16, 8)]
    arrays = sure(labels), np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    found = fuse(*arrays, windows, masks, FOUR, FusionConfig(join=0.5, join_rule="doubtful", theta=0.7))
    assert (found.labels_HW[4:] == ROAD).all()  # wall has 20 of the right mask's 32, road 72 of the region's 96
    assert found.reliable_HW[4:].all()


def test_with_join_rule_purer_a_mask_takes_the_winner_of_a_region_that_is_as_pure() -> None:
    road = road_that_two_windows_see(FusionConfig(join=0.5, join_rule="purer", theta=0.6)).labels_HW[4:]
    assert (road == ROAD).all()  # both have 5 of 8


def test_without_a_majority_nothing_is_painted_where_the_recipe_asks_for_one() -> None:
    labels = np.full((SIZE, SIZE), SKY)
    labels[:, 3:6], labels[:, 6:] = ROAD, WALL  # three eighths sky, three road, two wall
    painted = fused(labels, [area(slice(0, 8), slice(0, 8))], FusionConfig(paint_from=0.375))
    assert (painted.labels_HW == ROAD).all() and not painted.reliable_HW.any()
    kept = fused(labels, [area(slice(0, 8), slice(0, 8))], FusionConfig(paint_from=0.376))
    np.testing.assert_array_equal(kept.labels_HW, labels)
    np.testing.assert_allclose(kept.ensemble_CHW, sure(labels), atol=1e-6)
    assert not kept.reliable_HW.any()


def test_reliable_masks_are_painted_whatever_their_share() -> None:
    labels = np.full((SIZE, SIZE), SKY)
    labels[:, 5:] = ROAD
    found = fused(labels, [area(slice(0, 8), slice(0, 8))], FusionConfig(theta=0.6, paint_from=0.9))
    assert (found.labels_HW == SKY).all() and found.reliable_HW.all()


@pytest.mark.parametrize("votes", ["confidence", "probabilities"])
def test_joined_regions_elect_as_single_masks_do(votes: str) -> None:
    assert (road_that_two_windows_see(FusionConfig(join=0.5, votes=votes)).labels_HW[4:] == ROAD).all()


def test_views_that_join_nothing_are_fused_as_without() -> None:
    probabilities, agreement, ignored, windows, flags = panorama_case(3)
    plain, joined = (
        fuse(probabilities, agreement, ignored, windows, sets(flags), FOUR, FusionConfig(join=join))
        for join in (0.0, 1.0)  # no two masks are more than equal
    )
    np.testing.assert_array_equal(joined.ensemble_CHW, plain.ensemble_CHW)
    np.testing.assert_array_equal(joined.reliable_HW, plain.reliable_HW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignored_HW": np.zeros((SIZE, SIZE), np.uint8)}, "of uint8"),  # as the store has it: it would index
        ({"assistant_CHW": np.full((3, SIZE, SIZE), 1 / 3, np.float32)}, "4 classes of four"),
        ({"assistant_CHW": np.full((SIZE, SIZE, 4), 1 / 4, np.float32)}, "4 classes of four"),
        ({"agreement_HW": np.ones((SIZE, 4), np.float32)}, "agreement"),
        ({"masks": [mask_set([area(slice(0, 2), slice(0, 2), (4, 4))], (4, 4))]}, "masks are of a view"),
        ({"masks": []}, "shorter"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "assistant_CHW": sure(mostly_wall(ROAD)),
        "agreement_HW": np.ones((SIZE, SIZE), np.float32),
        "ignored_HW": np.zeros((SIZE, SIZE), np.bool_),
        "views": [Window(0, 0, SIZE, SIZE)],
        "masks": [mask_set([LEFT_HALF])],
        "label_set": FOUR,
        "config": DEFAULT,
    }
    with pytest.raises(ValueError, match=message):
        fuse(**arguments | change)


def test_a_winner_that_is_no_pixels_label_is_painted_too() -> None:
    """Probabilities elect sky, the second everywhere; half of the labels are road, half wall."""
    labels = np.where(np.arange(SIZE) % 2 == 0, ROAD, WALL) * np.ones((SIZE, 1), np.int64)
    probabilities = np.zeros((4, SIZE, SIZE), np.float32)
    probabilities[SKY] = 0.4
    np.put_along_axis(probabilities, labels[None], 0.6, axis=0)
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    found = fuse_window(probabilities, one, no, mask_set([LEFT_HALF]), FusionConfig(votes="probabilities"))
    assert (found.labels_HW[LEFT_HALF] == SKY).all() and not found.reliable_HW[LEFT_HALF].any()
    np.testing.assert_array_equal(found.labels_HW[~LEFT_HALF], labels[~LEFT_HALF])
