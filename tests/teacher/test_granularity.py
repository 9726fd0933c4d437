"""One mask per prompt: the largest that has a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.ensemble.regions import Votes
from pipeline.teacher.granularity import one_per_prompt
from pipeline.teacher.masks import MaskSet

SIZE = 16


def squares(*corner_and_side: tuple[int, int]) -> MaskSet:
    """Squares on the diagonal, with predicted IoUs that fall from one to the next."""
    flags = np.zeros((len(corner_and_side), SIZE, SIZE), np.bool_)
    for flags_hw, (corner, side) in zip(flags, corner_and_side, strict=True):
        flags_hw[corner : corner + side, corner : corner + side] = True
    return MaskSet.from_dense(flags, 1 - np.arange(len(flags)) / 100)


def chosen(masks: MaskSet, prompts: list[int], coverage: list[float], theta: float = 0.7) -> list[int]:
    votes = Votes(np.zeros(len(masks), np.uint8), np.array(coverage, np.float32), masks.areas())
    return one_per_prompt(replace(masks, prompts_M=np.array(prompts, np.int32)), votes, theta).tolist()


def test_the_largest_mask_that_reaches_theta_is_its_prompts() -> None:
    masks = squares((0, 2), (0, 8), (0, 4))
    assert chosen(masks, [5, 5, 5], [1.0, 0.6, 0.8]) == [2]
    assert chosen(masks, [5, 5, 5], [1.0, 0.7, 0.8]) == [1]


def test_where_none_reaches_theta_the_purest_is() -> None:
    assert chosen(squares((0, 2), (0, 8), (0, 4)), [0, 0, 0], [0.3, 0.4, 0.6]) == [2]


def test_every_prompt_has_its_own_and_duplicates_go() -> None:
    """The second prompt's whole resembles the first's, which has the higher predicted IoU; the third's is elsewhere."""
    masks = squares((0, 8), (0, 2), (0, 9), (10, 2), (10, 5))
    assert chosen(masks, [0, 0, 1, 2, 2], [0.9, 1.0, 0.9, 1.0, 0.2]) == [0, 3]
    assert chosen(masks, [0, 0, 1, 2, 2], [0.1, 1.0, 0.9, 1.0, 0.9]) == [1, 2, 4]


def test_a_view_without_masks_has_none() -> None:
    assert chosen(MaskSet.from_dense(np.zeros((0, SIZE, SIZE), np.bool_)), [], []) == []


def test_masks_that_do_not_tell_their_prompts_are_refused() -> None:
    masks = squares((0, 2))
    votes = Votes(np.zeros(1, np.uint8), np.ones(1, np.float32), masks.areas())
    with pytest.raises(ValueError, match="do not tell their prompts"):
        one_per_prompt(masks, votes, 0.7)
