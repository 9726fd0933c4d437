"""Grids of points are those of the stock generator; grids of a user's own and further prompts."""

from __future__ import annotations

import numpy as np
import pytest
from segment_anything.utils import amg

from pipeline.errors import RecipeError
from pipeline.teacher.generator.prompts import FurtherPrompts, checked_grids, point_grids


@pytest.mark.parametrize(("side", "layers", "factor"), [(1, 0, 1), (7, 2, 1), (16, 2, 2), (9, 1, 4)])
def test_grids_are_the_stock_generators(side: int, layers: int, factor: int) -> None:
    expected = amg.build_all_layer_point_grids(side, layers, factor)
    for grid, stock in zip(point_grids(side, layers, factor), expected, strict=True):
        np.testing.assert_array_equal(grid, stock)


def test_grids_without_points_missing_or_outside_the_image_are_refused() -> None:
    with pytest.raises(RecipeError, match="downscale"):
        point_grids(2, 2, 2)
    for grids in ([np.zeros((3, 3))], [np.full((1, 2), 1.5)], [np.empty((0, 2))], []):
        with pytest.raises(RecipeError, match="point_grids"):
            checked_grids(grids, 0)


def test_the_points_of_a_grid_are_the_middles_of_its_cells_row_by_row() -> None:
    (grid,) = point_grids(2, 0, 1)
    np.testing.assert_array_equal(grid, [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])


@pytest.mark.parametrize("side", [0, -1])
def test_an_image_without_points_is_refused(side: int) -> None:
    with pytest.raises(RecipeError, match=rf"sam\.points_per_side is {side}"):
        point_grids(side, 0, 1)


def test_a_users_grids_become_numbers_and_one_more_than_needed_stays() -> None:
    image, crops = checked_grids([[[0, 1]], [[0.5, 0.5], [1, 0]]], 0)
    np.testing.assert_array_equal(image, [[0.0, 1.0]])
    assert image.dtype == crops.dtype == np.float64 and crops.shape == (2, 2)


def test_a_layer_of_crops_needs_a_grid_of_its_own() -> None:
    with pytest.raises(RecipeError, match=r"point_grids is '1 grids'; it must be 2: one per layer"):
        checked_grids([[[0.5, 0.5]]], 1)


def test_further_prompts_are_counted_by_what_is_asked() -> None:
    """A thing is one prompt: its box and two points."""
    assert len(FurtherPrompts(np.zeros((3, 4)), np.zeros((3, 2, 2)), np.zeros((4, 2)))) == 7
