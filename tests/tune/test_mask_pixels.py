"""Pixels of all views' masks as one list: which they are, and what they vote."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.windows import Window
from pipeline.teacher.masks import MaskSet, no_masks
from pipeline.tune.mask_pixels import MaskPixels

HEIGHT, WIDTH = 4, 8
EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)
LEFT, SEAM = Window(0, 0, 4, 4), Window(0, 6, 4, 4)
"""The second window has the columns 6, 7, 0 and 1."""


def mask(rows: slice, columns: slice) -> np.ndarray:
    flags = np.zeros((4, 4), np.bool_)
    flags[rows, columns] = True
    return flags


def members(pixels: MaskPixels) -> list[list[int]]:
    """Places of each mask's pixels, sorted."""
    return [sorted(pixels.pixels_P[pixels.masks_P == m].tolist()) for m in range(pixels.count)]


def test_masks_count_through_all_views_and_wrap_at_the_seam() -> None:
    masks = [MaskSet.from_dense([mask(slice(0, 1), slice(1, 3)), mask(slice(0, 2), slice(2, 3))]),
             MaskSet.from_dense([mask(slice(3, 4), slice(1, 3))])]  # fmt: skip
    pixels = MaskPixels.of([LEFT, SEAM], masks, EVERYWHERE)
    assert pixels.count == 3
    assert members(pixels) == [[1, 2], [2, 10], [24, 31]], "pixels may lie in several masks"


def test_places_are_counted_among_the_scored_pixels_alone() -> None:
    scored_HW = EVERYWHERE.copy()
    scored_HW[0, ::2] = False
    masks = [MaskSet.from_dense([mask(slice(0, 2), slice(0, 2)), mask(slice(0, 1), slice(0, 1))])]
    pixels = MaskPixels.of([LEFT], masks, scored_HW)
    assert members(pixels) == [[0, 4, 5], []], "a mask of which nothing is scored stays, without pixels"
    assert pixels.votes(np.zeros(28, np.uint8), 2).tolist() == [[3, 0], [0, 0]]


def test_votes_are_the_counts_of_a_loop_over_masks() -> None:
    rng = np.random.default_rng(0)
    windows = [Window(0, column, 4, 4) for column in (0, 3, 6)]
    dense = [rng.random((5, 4, 4)) < 0.4 for _ in windows]
    scored_HW = rng.random((HEIGHT, WIDTH)) < 0.7
    labels_HW = rng.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    pixels = MaskPixels.of(windows, [MaskSet.from_dense(own) for own in dense], scored_HW)
    votes_MC = pixels.votes(labels_HW[scored_HW], 3)
    for m, (window, flags) in enumerate(
        (window, flags) for window, own in zip(windows, dense, strict=True) for flags in own
    ):
        labels, scored = (np.roll(values, -window.column, axis=1)[:, :4] for values in (labels_HW, scored_HW))
        np.testing.assert_array_equal(votes_MC[m], np.bincount(labels[flags & scored], minlength=3))


def test_masks_of_perspective_views_vote_too() -> None:
    views = perspective_views(32, 64, 180.0, ViewsConfig(level=4, down=0, up=0, nadir=0, zenith=0, size=16))
    halves = np.zeros((2, 16, 16), np.bool_)
    halves[0, :, :8] = halves[1, :, 8:] = True
    pixels = MaskPixels.of(views, [MaskSet.from_dense(halves)] * 4, np.ones((32, 64), np.bool_))
    assert pixels.votes(np.ones(32 * 64, np.uint8), 3).tolist() == [[0, 128, 0]] * 8


def test_without_masks_nobody_votes() -> None:
    assert MaskPixels.of([LEFT], [no_masks(4, 4)], EVERYWHERE).votes(np.zeros(32, np.uint8), 3).shape == (0, 3)
    assert MaskPixels.of([], [], EVERYWHERE).count == 0


def test_a_view_without_its_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        MaskPixels.of([LEFT, SEAM], [no_masks(4, 4)], EVERYWHERE)
