"""Maps to look at: painted strip by strip as at once, with a legend that hides nothing where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.evaluate.map_picture import legend_entries, paint_map
from pipeline.evaluate.overlay import paint_labels

ROAD, FENCE, SKY, CAR = 0, 4, 10, 12


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    labels = np.full((height, width), ROAD, np.uint8)
    labels[: height // 2] = SKY
    labels[rng.random((height, width)) < 0.05] = CAR
    labels[-height // 8 :] = IGNORE
    return image, labels


def test_strips_do_not_show() -> None:
    image, labels = picture(300, 600)  # too small for a legend
    np.testing.assert_array_equal(
        paint_map(image, labels, DENSEPASS_13, 180), paint_labels(image, labels, DENSEPASS_13)
    )


def changed(image: np.ndarray, labels: np.ndarray, vertical_fov: float = 180.0) -> np.ndarray:
    """Where the legend lies [H, W]."""
    return (paint_map(image, labels, DENSEPASS_13, vertical_fov) != paint_labels(image, labels, DENSEPASS_13)).any(
        axis=-1
    )


@pytest.mark.parametrize(("height", "vertical_fov"), [(1024, 180.0), (400, 70.3)])
def test_the_legend_lies_low_where_viewers_show_it_straight(height: int, vertical_fov: float) -> None:
    image, labels = picture(height, 2048)
    rows, columns = np.nonzero(changed(image, labels, vertical_fov))
    below = (rows / height - 0.5) * vertical_fov  # degrees under the horizon
    assert below.max() < 51 and below.min() > -20
    assert columns.max() < 0.6 * 2048 and len(rows) > 5000


def test_it_has_the_true_colours_of_the_classes_that_occur() -> None:
    image, labels = picture(1024, 2048)
    painted = paint_map(image, labels, DENSEPASS_13, 180)
    for class_id in (ROAD, SKY, CAR):
        assert (painted == DENSEPASS_13.palette[class_id]).all(axis=-1).sum() > 100


def test_it_names_the_classes_that_cover_enough_and_what_was_not_seen() -> None:
    _, labels = picture(1024, 2048)
    labels[0, :5] = FENCE  # less than LEAST_SHARE of the map
    colours = DENSEPASS_13.palette
    assert legend_entries(labels, DENSEPASS_13) == [
        ("road", colours[ROAD]), ("sky", colours[SKY]), ("car", colours[CAR]), ("not seen", (0, 0, 0)),
    ]  # fmt: skip
    assert legend_entries(np.full((8, 16), FENCE, np.uint8), DENSEPASS_13) == [("fence", colours[FENCE])]


def test_a_picture_too_small_to_read_a_legend_on_has_none() -> None:
    assert not changed(*picture(128, 256)).any()
