"""Maps to look at: painted strip by strip as at once, with a legend that hides nothing where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.evaluate import map_picture
from pipeline.evaluate.map_picture import paint_map
from pipeline.evaluate.overlay import paint_labels

ROAD, SKY, CAR = 0, 10, 12


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    labels = np.full((height, width), ROAD, np.uint8)
    labels[: height // 2] = SKY
    labels[rng.random((height, width)) < 0.05] = CAR
    labels[-height // 8 :] = IGNORE
    return image, labels


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_picture, "_SMALLEST_FONT", 1000)  # no legend
    image, labels = picture(300, 600)
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


def test_it_has_the_true_colours_of_the_classes_that_occur_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    image, labels = picture(1024, 2048)
    entries: list[str] = []
    draw = map_picture._legend

    def spied(found: list[tuple[str, tuple[int, int, int]]], size: int, widest: int) -> object:
        entries.extend(name for name, _ in found)
        return draw(found, size, widest)

    monkeypatch.setattr(map_picture, "_legend", spied)
    painted = paint_map(image, labels, DENSEPASS_13, 180)
    assert entries == ["road", "sky", "car", "not seen"]
    for class_id in (ROAD, SKY, CAR):
        assert (painted == DENSEPASS_13.palette[class_id]).all(axis=-1).sum() > 100


def test_a_picture_too_small_to_read_a_legend_on_has_none() -> None:
    assert not changed(*picture(128, 256)).any()
