"""Prompts for the things that an assistant proposes, and what their masks change."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13
from scripts.measure_things import best_mask, points, prompted_classes, replace_thing, things

HEIGHT, WIDTH = 64, 128
POLE, SKY, ROAD = 5, 10, 0


def labels() -> np.ndarray:
    """A pole over the seam, a smaller one in the picture, and one too small to prompt for."""
    found = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    found[20:40, :3] = POLE
    found[10:20, 60:64] = POLE
    found[50, 100] = POLE
    return found


def test_pieces_come_largest_first_in_squares_that_wrap_over_the_seam() -> None:
    first, second = things(labels(), (POLE,))
    assert (first.class_id, second.class_id) == (POLE, POLE)
    assert (first.piece_ss.sum(), second.piece_ss.sum()) == (60, 40)
    assert first.piece_ss.shape == (40, 40)
    assert {0, 1, 2, WIDTH - 1} <= set(first.columns_s.tolist())
    assert (labels()[first.square][first.piece_ss] == POLE).all()
    assert list(things(np.tile(labels(), (1, 3)), (SKY,))) == []  # too large to be a thing


def test_both_points_lie_inside_apart() -> None:
    piece = np.zeros((40, 40), np.bool_)
    piece[5:35, 10:20] = True
    first, second = points(piece)
    for x, y in (first, second):
        assert piece[int(y), int(x)]
    assert np.abs(first - second).max() > 8


@pytest.mark.parametrize("with_box", [False, True])
def test_of_three_masks_the_one_that_fits_the_piece_is_taken(with_box: bool) -> None:
    piece = np.zeros((32, 32), np.bool_)
    piece[8:24, 8:24] = True
    asked: list[dict[str, Any]] = []
    fitting = np.kron(piece, np.ones((2, 2), np.bool_))

    def predict(at: np.ndarray, kinds: np.ndarray, box: np.ndarray | None) -> tuple[np.ndarray, None, None]:
        asked.append({"at": at, "kinds": kinds, "box": box})
        return np.stack([np.ones_like(fitting), fitting, np.zeros_like(fitting)]), None, None

    images: list[np.ndarray] = []
    predictor: Any = SimpleNamespace(
        model=SimpleNamespace(image_encoder=SimpleNamespace(img_size=64)), set_image=images.append, predict=predict
    )
    mask, overlap = best_mask(predictor, np.zeros((32, 32, 3), np.uint8), piece, with_box)
    assert (mask == piece).all() and overlap == 1
    assert images[0].shape == (64, 64, 3)
    assert all(fitting[int(y), int(x)] for x, y in asked[0]["at"])
    assert (asked[0]["box"] is None) != with_box
    assert asked[0]["box"] is None or asked[0]["box"].tolist() == [16, 16, 48, 48]


def test_a_mask_takes_the_pieces_place_and_the_rest_gets_the_second_choice() -> None:
    found = labels()
    probabilities = np.full((13, HEIGHT, WIDTH), 0.01, np.float32)
    probabilities[POLE], probabilities[ROAD] = 0.6, 0.3
    thing = list(things(found, (POLE,)))[1]
    mask = np.roll(thing.piece_ss, 2, axis=1)
    before = probabilities.copy()
    replace_thing(found, probabilities, thing, mask)
    assert (found[thing.square][mask] == POLE).all()
    assert (found[thing.square][thing.piece_ss & ~mask] == ROAD).all()
    assert (found[20:40, :3] == POLE).all() and found[50, 100] == POLE
    np.testing.assert_array_equal(probabilities, before)


def test_thin_classes_and_cars_are_things() -> None:
    assert [DENSEPASS_13.names[i] for i in prompted_classes(DENSEPASS_13)] == [
        "pole", "traffic light", "traffic sign", "person", "car",
    ]  # fmt: skip
