"""Masks of overlapping views that show the same thing become one region."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.ensemble.joining import joined_regions, matching_masks
from pipeline.ensemble.regions import NO_MASK, Regions, Votes
from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window

HEIGHT, WIDTH = 32, 64


def regions_of(owners_hw: npt.NDArray[np.int32], count: int) -> Regions:
    votes = Votes(np.zeros(count, np.uint8), np.ones(count, np.float32), np.ones(count, np.int64))
    return Regions(owners_hw, votes)


def seen_by(views: list[View], things_HW: npt.NDArray[np.int32], count: int) -> list[Regions]:
    return [regions_of(view.cut_nearest(things_HW), count) for view in views]


def test_one_thing_is_one_region_in_all_windows_and_over_the_seam() -> None:
    things_HW = np.full((HEIGHT, WIDTH), NO_MASK, np.int32)
    things_HW[20:] = 0  # the ground, all around
    things_HW[4:10, 60:] = things_HW[4:10, :4] = 1  # a cloud on the seam
    views: list[View] = [Window(0, column, HEIGHT, 16) for column in range(0, WIDTH, 8)]
    ground, cloud = zip(*joined_regions(views, seen_by(views, things_HW, 2), HEIGHT, WIDTH, 0.5), strict=True)
    assert len(set(ground)) == 1
    assert (
        len({number for number, view in zip(cloud, views, strict=True) if (view.cut_nearest(things_HW) == 1).any()})
        == 1
    )
    assert ground[0] not in cloud


def test_things_that_no_two_views_share_stay_apart() -> None:
    things_HW = np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH) % WIDTH // 8
    views: list[View] = [Window(0, 0, HEIGHT, 16), Window(0, 16, HEIGHT, 16)]  # side by side
    numbers = np.concatenate(joined_regions(views, seen_by(views, things_HW, 8), HEIGHT, WIDTH, 0.5))
    assert len(set(numbers.tolist())) == len(numbers)


def test_perspective_views_share_what_they_both_see() -> None:
    things_HW = np.full((HEIGHT, WIDTH), NO_MASK, np.int32)
    things_HW[18:] = 0
    config = ViewsConfig(level=8, down=0, up=0, nadir=0, zenith=0, fov=90.0, size=64)
    views: list[View] = list(perspective_views(HEIGHT, WIDTH, 180.0, config))
    (ground,) = zip(*joined_regions(views, seen_by(views, things_HW, 1), HEIGHT, WIDTH, 0.5), strict=True)
    assert len(set(ground)) == 1


@pytest.mark.parametrize(("min_iou", "pairs"), [(0.3, [(0, 0)]), (0.4, [])])
def test_masks_match_above_the_threshold_of_what_both_views_see(min_iou: float, pairs: list[tuple[int, int]]) -> None:
    one = np.array([[0, 0, 0, 0, NO_MASK, NO_MASK - 1]], np.int32)
    other = np.array([[NO_MASK, NO_MASK, 0, 0, 0, 0]], np.int32)  # 2 shared of 5 that either has, one is unseen
    assert matching_masks(one, other, 1, 1, min_iou) == pairs


def test_a_mask_has_one_match_at_most_in_a_view() -> None:
    one = np.array([[0] * 10], np.int32)
    other = np.array([[0] * 4 + [1] * 6], np.int32)
    assert matching_masks(one, other, 1, 2, 0.3) == [(0, 1)]


def test_views_without_masks_join_nothing() -> None:
    nothing = np.full((HEIGHT, 16), NO_MASK, np.int32)
    views: list[View] = [Window(0, 0, HEIGHT, 16), Window(0, 8, HEIGHT, 16)]
    numbers = joined_regions(views, [regions_of(nothing, 0), regions_of(nothing, 0)], HEIGHT, WIDTH, 0.5)
    assert [len(of_view) for of_view in numbers] == [0, 0]
