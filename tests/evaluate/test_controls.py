"""Controls on a picture of two windows whose masks, votes and truth are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.controls import FusionInput, oracle, sam_only, with_masks
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import window_grid
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.vote import fuse

FOUR = LabelSet("four", ("sky", "wall", "pole", "road"), ((0, 0, 0),) * 4, thin=(2,))
SKY, WALL, POLE, ROAD = range(4)
HEIGHT, WIDTH = 32, 64
WINDOWS = window_grid(HEIGHT, WIDTH, WindowConfig(32, 32, 32, 32))


def assistant_labels() -> np.ndarray:
    """Sky, with a block of two thirds wall and one third road in the first window."""
    labels = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    labels[8:20, 4:24] = WALL
    labels[16:20, 4:24] = ROAD
    return labels


def block() -> MaskSet:
    mask = np.zeros((1, 32, 32), np.bool_)
    mask[0, 8:20, 4:24] = True
    return MaskSet.from_dense(mask)


def nothing() -> MaskSet:
    return MaskSet.from_dense(np.zeros((0, 32, 32), np.bool_))


def known(config: FusionConfig | None = None) -> FusionInput:
    labels = assistant_labels()
    probabilities = np.where(np.arange(4)[:, None, None] == labels, 0.7, 0.1).astype(np.float32)
    one, no = np.ones(labels.shape, np.float32), np.zeros(labels.shape, np.bool_)
    return FusionInput(probabilities, one, no, WINDOWS, [block(), nothing()], FOUR, config or FusionConfig())


SHY = (FusionConfig(unreliable="keep"), FusionConfig(paint_from=0.9))
"""Settings by which the ensemble would not paint the block."""


@pytest.mark.parametrize("config", [FusionConfig(), *SHY])
def test_sam_alone_paints_winners_and_covers_nothing_else(config: FusionConfig) -> None:
    found = sam_only(known(config))
    expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    expected[8:20, 4:24] = WALL
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("config", [FusionConfig(unreliable="keep", theta=0.9), *SHY])
def test_the_oracle_paints_masks_by_the_truth_and_leaves_the_rest_to_the_assistant(config: FusionConfig) -> None:
    truth = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    truth[8:20, 4:12] = SKY
    truth[:8], truth[0] = IGNORE, 77
    expected = assistant_labels()
    expected[8:20, 4:24] = ROAD
    np.testing.assert_array_equal(oracle(known(config), truth), expected)


def test_a_mask_without_a_true_class_keeps_the_assistants_labels() -> None:
    truth = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    np.testing.assert_array_equal(oracle(known(), truth), assistant_labels())


@pytest.mark.parametrize("change", [{"one_per_prompt": True}, {"weigh_by": "prompt_stability"}])
def test_masks_that_no_prompt_found_need_none(change: dict[str, Any]) -> None:
    other = [block(), nothing()]
    expected = with_masks(known(), other)
    np.testing.assert_array_equal(with_masks(known(FusionConfig(**change)), other), expected)


def test_other_masks_take_the_very_same_way() -> None:
    own = known()
    mask = np.zeros((1, 32, 32), np.bool_)
    mask[0, 18:, :] = True
    other = [MaskSet.from_dense(mask), nothing()]
    expected = fuse(own.assistant_CHW, own.agreement_HW, own.ignored_HW, WINDOWS, other, FOUR, own.config).labels_HW
    np.testing.assert_array_equal(with_masks(own, other), expected)
    assert (with_masks(own, other) != sam_only(own)).any()


def test_ignored_pixels_are_covered_by_no_control() -> None:
    ignored = np.zeros((HEIGHT, WIDTH), np.bool_)
    ignored[:, :10] = True
    own = dataclasses.replace(known(), ignored_HW=ignored)
    truth = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    for labels in (sam_only(own), oracle(own, truth), with_masks(own, own.masks)):
        assert (labels[ignored] == IGNORE).all() and (labels[~ignored] != IGNORE).any()
