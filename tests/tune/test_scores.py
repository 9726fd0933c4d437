"""Scores without labels: predictions of known purity, collapse, and agreement corrected for chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.panorama.config import WindowConfig
from pipeline.panorama.views import View
from pipeline.panorama.windows import window_grid
from pipeline.teacher.masks import MaskSet
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.scores import (
    corrected_agreement,
    corrected_purity,
    effective_classes,
    mano,
    purity,
    soft_neighbourhood_density,
)

HEIGHT, WIDTH, CLASSES = 32, 64, 3
EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)


def halves(views: tuple[View, ...]) -> list[MaskSet]:
    """Two masks per view, its left and its right half."""
    masks: list[MaskSet] = []
    for view in views:
        dense = np.zeros((2, view.height, view.width), np.bool_)
        dense[0, :, : view.width // 2] = dense[1, :, view.width // 2 :] = True
        masks.append(MaskSet.from_dense(dense))
    return masks


def votes_of(labels_HW: np.ndarray, scored_HW: np.ndarray = EVERYWHERE) -> np.ndarray:
    windows = window_grid(HEIGHT, WIDTH, WindowConfig(32, 32, 32, 32))
    pixels = MaskPixels.of(windows, halves(windows), scored_HW)
    return pixels.votes(labels_HW[scored_HW].astype(np.uint8), CLASSES)


def test_masks_of_one_class_each_are_pure_and_stay_so_after_correction() -> None:
    labels_HW = np.broadcast_to(np.arange(WIDTH) // 16 % CLASSES, (HEIGHT, WIDTH))
    assert purity(votes_of(labels_HW)) == corrected_purity(votes_of(labels_HW)) == 1


def test_purity_is_the_winners_share_by_area() -> None:
    labels_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels_HW[:8, :16] = 1  # a quarter of the first mask of four
    labels_HW[:, 48:] = 2
    assert purity(votes_of(labels_HW)) == pytest.approx(1 - 1 / 16)
    # Class 0 everywhere would have 11 of 16; the masks have 15.
    assert corrected_purity(votes_of(labels_HW)) == pytest.approx((15 - 11) / (16 - 11))


def test_one_class_everywhere_is_pure_but_worth_nothing() -> None:
    labels_HW = np.ones((HEIGHT, WIDTH), np.uint8)
    votes_MC = votes_of(labels_HW)
    assert (purity(votes_MC), corrected_purity(votes_MC), effective_classes(votes_MC)) == (1, 0, 1)
    flat = labels_HW.ravel()
    assert corrected_agreement(flat, flat, CLASSES, np.ones(flat.size)) == 0


def test_labels_without_regard_to_masks_are_worth_nothing() -> None:
    labels_HW = np.broadcast_to(np.arange(HEIGHT)[:, None] % CLASSES, (HEIGHT, WIDTH))
    assert purity(votes_of(labels_HW)) > 0.3
    assert corrected_purity(votes_of(labels_HW)) == pytest.approx(0, abs=1e-9)


def test_what_is_ignored_or_left_out_does_not_vote() -> None:
    labels_HW = np.broadcast_to(np.arange(WIDTH) // 16 % CLASSES, (HEIGHT, WIDTH)).copy()
    labels_HW[:4] = 2
    scored_HW = EVERYWHERE.copy()
    scored_HW[:4] = False
    votes_MC = votes_of(labels_HW, scored_HW)
    assert purity(votes_MC) == 1 and votes_MC.sum() == (HEIGHT - 4) * WIDTH


def test_without_masks_there_is_no_purity() -> None:
    windows = window_grid(HEIGHT, WIDTH, WindowConfig(32, 32, 32, 32))
    none = [MaskSet.from_dense(np.zeros((0, 32, 32))) for _ in windows]
    votes_MC = MaskPixels.of(windows, none, EVERYWHERE).votes(np.zeros(HEIGHT * WIDTH, np.uint8), CLASSES)
    assert math.isnan(purity(votes_MC)) and math.isnan(corrected_purity(votes_MC))


def test_equal_predictions_agree_fully_and_unrelated_ones_not_at_all() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, CLASSES, (2, 20_000)).astype(np.uint8)
    weights = rng.uniform(0.5, 1, first.size)
    assert corrected_agreement(first, first, CLASSES, weights) == pytest.approx(1)
    assert corrected_agreement(first, second, CLASSES, weights) == pytest.approx(0, abs=0.02)


def test_weights_decide_how_much_a_disagreement_counts() -> None:
    first, second = np.array([0, 1, 1, 0], np.uint8), np.array([0, 1, 1, 1], np.uint8)
    light, heavy = np.array([1, 1, 1, 0.1]), np.array([1, 1, 1, 10])
    assert corrected_agreement(first, second, 2, light) > corrected_agreement(first, second, 2, heavy)


def test_mano_rises_with_certainty() -> None:
    certain, uniform = np.zeros((4, 10), np.float32), np.full((4, 10), 0.25, np.float32)
    certain[0] = 1
    assert mano(certain) == pytest.approx((1 / 4) ** (1 / 4)) and mano(uniform) == pytest.approx(1 / 4)


def test_soft_neighbourhood_density_rises_with_the_size_of_clusters() -> None:
    few = np.repeat(np.eye(2, dtype=np.float32), 32, axis=1)
    many = np.repeat(np.eye(16, dtype=np.float32), 4, axis=1)
    assert soft_neighbourhood_density(few) == pytest.approx(math.log(31), abs=1e-6)
    assert soft_neighbourhood_density(many) == pytest.approx(math.log(3), abs=1e-6)
