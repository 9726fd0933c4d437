"""Crops and cut masks are those of the stock generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils import amg

from pipeline.errors import InputError
from pipeline.teacher.generator.crops import Crop, image_crops, is_cut


@given(st.integers(40, 900), st.integers(40, 900), st.integers(0, 3), st.floats(0, 0.9))
def test_crops_are_the_stock_generators(height: int, width: int, layers: int, overlap: float) -> None:
    boxes, of_layer = amg.generate_crop_boxes((height, width), layers, overlap)
    if any(min(x1 - x0, y1 - y0) < 1 for x0, y0, x1, y1 in boxes):
        with pytest.raises(InputError, match="crop_n_layers"):
            image_crops(height, width, layers, overlap)
        return
    crops = image_crops(height, width, layers, overlap)
    assert [list(crop[:4]) for crop in crops] == boxes
    assert [crop.layer for crop in crops] == of_layer


def test_an_image_too_small_for_its_crops_is_refused() -> None:
    with pytest.raises(InputError, match="crop_n_layers"):
        image_crops(2, 1, 2, 0.3)


@given(st.lists(st.lists(st.integers(0, 120), min_size=4, max_size=4), max_size=12), st.integers(0, 80))
def test_cut_masks_are_the_stock_generators(boxes: list[list[int]], x: int) -> None:
    crop = Crop(x, 10, x + 100, 130, 1)
    expected = amg.is_box_near_crop_edge(
        torch.tensor(boxes, dtype=torch.int64).reshape(-1, 4), list(crop[:4]), [0, 0, 200, 140]
    )
    np.testing.assert_array_equal(is_cut(np.array(boxes, np.int64).reshape(-1, 4), crop, 140, 200), expected.numpy())
