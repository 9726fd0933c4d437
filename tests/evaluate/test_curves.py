from __future__ import annotations

import numpy as np

from pipeline.evaluate.curves import HEIGHT, WIDTH, draw_curves

BLUE, ORANGE = (31, 119, 180), (214, 99, 0)


def columns_and_rows(picture_HW3: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the curve of a colour is, below the legend."""
    rows, columns = np.nonzero((picture_HW3[40:] == colour).all(axis=-1))
    return columns, rows + 40


def test_a_rising_curve_rises_and_the_higher_of_two_lies_above() -> None:
    curves = {"low": [(10, 0.5), (20, 0.52)], "high": [(10, 0.6), (20, 0.64)]}
    picture = draw_curves(curves, 20, "best")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    (blue_x, blue_y), (orange_x, orange_y) = (columns_and_rows(picture, colour) for colour in (BLUE, ORANGE))
    assert blue_y[blue_x.argmax()] < blue_y[blue_x.argmin()]
    assert orange_y.max() < blue_y.min()
    assert orange_x.min() < WIDTH / 2 + 40 < orange_x.max()  # step 10 of 20 lies in the middle


def test_one_point_and_equal_points_can_be_drawn() -> None:
    assert draw_curves({"one": [(7, 0.5)]}, 7, "best").std() > 0
    assert columns_and_rows(draw_curves({"flat": [(1, 1.0), (2, 1.0)]}, 1, "best"), BLUE)[0].size
