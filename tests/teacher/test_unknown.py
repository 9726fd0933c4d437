"""Unknown objects: every condition by a hand-made example, and one object where several views see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.classes import LabelSet
from pipeline.panorama.config import WindowConfig
from pipeline.panorama.windows import Window, window_grid
from pipeline.teacher.config import UnknownConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.unknown import UnknownObjects, entropy, find_unknown, numbered

FOUR = LabelSet("four", ("road", "car", "bus", "sky"), ((0, 0, 0),) * 4, thin=(), stuff=(0, 3))
SIZE = 16
UNCLEAR, CLEAR, OF_STUFF = (0.1, 0.45, 0.4, 0.05), (0.02, 0.96, 0.01, 0.01), (0.45, 0.25, 0.2, 0.1)
THING = (slice(4, 8), slice(5, 9))


def predicted(of_thing: tuple[float, ...], place: tuple[slice, slice] = THING) -> npt.NDArray[np.float32]:
    """The assistant's probabilities: road everywhere but in the thing."""
    probabilities = np.zeros((4, SIZE, SIZE), np.float32)
    probabilities[0] = 1
    probabilities[:, *place] = np.array(of_thing, np.float32)[:, None, None]
    return probabilities


def found(
    of_thing: tuple[float, ...] = UNCLEAR,
    place: tuple[slice, slice] = THING,
    predicted_iou: float = 0.9,
    ignored: bool = False,
    **settings: Any,
) -> UnknownObjects:
    flags = np.zeros((1, SIZE, SIZE), np.bool_)
    flags[0, *place] = True
    masks = MaskSet.from_dense(flags, [predicted_iou])
    ignored_HW = np.full((SIZE, SIZE), ignored)
    views = [Window(0, 0, SIZE, SIZE)]
    return find_unknown(predicted(of_thing, place), ignored_HW, views, [masks], FOUR, UnknownConfig(**settings))


def test_a_good_mask_without_a_clear_class_is_an_unknown_object() -> None:
    objects = found()
    expected = np.zeros((SIZE, SIZE), np.uint16)
    expected[THING] = 1
    np.testing.assert_array_equal(objects.numbers_HW, expected)
    np.testing.assert_allclose(objects.predicted_iou_N, [0.9])
    np.testing.assert_allclose(objects.probabilities_NC, [UNCLEAR], atol=1e-6)
    assert 0.7 < objects.entropy_N[0] < 0.9


@pytest.mark.parametrize(
    "change",
    [
        {"predicted_iou": 0.8},
        {"min_predicted_iou": 0.95},
        {"of_thing": CLEAR},
        {"min_entropy": 0.9},
        {"of_thing": OF_STUFF},
        {"max_size": 0.05},
        {"ignored": True},
        {"place": (slice(0, 4), slice(5, 9))},
        {"place": (slice(4, 8), slice(12, SIZE))},
    ],
    ids=["iou", "threshold", "clear", "entropy", "stuff", "large", "ignored", "at the upper border", "at the right"],
)
def test_other_masks_are_none(change: dict[str, Any]) -> None:
    objects = found(**change)
    assert not objects.numbers_HW.any() and objects.probabilities_NC.shape == (0, 4)


def test_what_several_views_see_is_one_object_over_the_seam_too() -> None:
    """A thing on the seam, which two windows see whole, and one in the middle."""
    height, width = 32, 128
    windows = window_grid(height, width, WindowConfig(32, 64, 32, 32))
    things = np.zeros((height, width), np.bool_)
    things[8:14, 124:] = things[8:14, :4] = things[12:17, 60:66] = True
    probabilities = np.where(things, np.array(UNCLEAR, np.float32)[:, None, None], np.float32(0.25))
    masks = list[MaskSet]()
    for window in windows:
        seen = window.cut_nearest(things)
        columns = np.arange(window.width)
        masks.append(MaskSet.from_dense(np.stack([seen & (columns < 32), seen & (columns >= 32)]), [0.9, 0.95]))
    no = np.zeros(things.shape, np.bool_)
    objects = find_unknown(probabilities, no, windows, masks, FOUR, UnknownConfig())
    np.testing.assert_array_equal(objects.numbers_HW > 0, things)
    assert set(objects.numbers_HW[8:14, [124, 127, 0, 3]].ravel().tolist()) == {1}
    assert set(objects.numbers_HW[12:17, 60:66].ravel().tolist()) == {2}
    np.testing.assert_allclose(objects.predicted_iou_N, [0.95, 0.95])


@pytest.mark.parametrize("roll", range(SIZE))
def test_pieces_that_touch_at_a_corner_are_one_object_wherever_the_seam_lies(roll: int) -> None:
    """Two that meet at a corner with a third that meets none."""
    flags = np.zeros((SIZE, SIZE), np.bool_)
    flags[2:4, 3:5] = flags[4:7, 5:8] = flags[9, 10] = True
    assert numbers_of(np.roll(flags, roll, axis=1)) == [1, 2]
    assert numbers_of(np.roll(flags[::-1], roll, axis=1)) == [1, 2]


@pytest.mark.parametrize("seed", range(20))
def test_what_touches_over_the_seam_is_counted_once(seed: int) -> None:
    """Counted by flooding from pixel to pixel, columns wrapping."""
    random = np.random.default_rng(seed)
    width = int(random.integers(1, 20))
    flags = random.random((20, width)) < 0.15
    left = {(int(row), int(column)) for row, column in np.argwhere(flags)}
    count = 0
    while left:
        front, count = [left.pop()], count + 1
        while front:
            row, column = front.pop()
            near = {(row + y, (column + x) % width) for y in (-1, 0, 1) for x in (-1, 0, 1)} & left
            left -= near
            front += near
    assert numbers_of(flags) == list(range(1, count + 1))


def numbers_of(flags: npt.NDArray[np.bool_]) -> list[int]:
    """The numbers that the flagged pixels have."""
    numbers_HW = numbered(flags)
    np.testing.assert_array_equal(numbers_HW > 0, flags)
    return sorted(set(numbers_HW[flags].tolist()))


def test_the_entropy_is_a_share_of_the_highest() -> None:
    rows = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4], np.float32)
    np.testing.assert_allclose(entropy(rows), [0, 0.5, 1], atol=1e-6)
