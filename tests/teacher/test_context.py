"""Masks of wider windows beside those of the windows themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.panorama.windows import Window
from pipeline.teacher.context import masks_with_context, wider_window
from pipeline.teacher.masks import MaskSet

HEIGHT, WIDTH = 32, 64


@pytest.mark.parametrize(
    ("window", "wider"),
    [
        (Window(8, 16, 8, 16), Window(4, 8, 16, 32)),
        (Window(0, 0, 8, 16), Window(0, -8, 16, 32)),
        (Window(24, 48, 8, 16), Window(16, 40, 16, 32)),
        (Window(0, 16, 32, 48), Window(0, 8, 32, 64)),
    ],
    ids=["inside", "at the top and over the seam", "at the bottom", "no more than the panorama"],
)
def test_the_wider_window_lies_around_the_other_inside_the_panorama(window: Window, wider: Window) -> None:
    assert wider_window(window, HEIGHT, WIDTH) == wider


class ByColour:
    """A source with a mask for each red value but 0; in images wider than 16 pixels scores are 0.5, else 1."""

    identity, notes = "by colour", ()

    def many(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        found: list[MaskSet] = []
        for image in images:
            values = np.setdiff1d(np.unique(image[..., 0]), [0])
            score = np.full(len(values), 0.5 if image.shape[1] > 16 else 1.0)
            found.append(MaskSet.from_dense(image[..., 0] == values[:, None, None], score, score))
        return found


def test_large_masks_are_those_of_the_wider_window_and_small_ones_the_windows_own() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :24] = 100  # large, also where the window over the seam sees it
    image[9:11, 4:7] = 200  # small
    windows = [Window(8, 0, 8, 16), Window(8, 56, 8, 16)]
    whole, over_seam = masks_with_context(ByColour(), image, windows, 0.25)
    for window, masks in zip(windows, (whole, over_seam), strict=True):
        red = window.cut_image(image)[..., 0]
        np.testing.assert_array_equal(masks.dense(), np.stack([red == 100, red == 200]))
        np.testing.assert_allclose(masks.predicted_iou_M, [0.5, 1.0])
        np.testing.assert_allclose(masks.stability_M, [0.5, 1.0])


def test_a_thing_is_not_lost_that_is_large_in_neither_or_seen_by_one_alone() -> None:
    """With a limit above all masks the windows' own remain, and none of the wider windows'."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[8:16, 12:40] = 90
    (masks,) = masks_with_context(ByColour(), image, [Window(8, 0, 8, 16)], 1.0)
    assert len(masks) == 1 and masks.predicted_iou_M[0] == 1.0
