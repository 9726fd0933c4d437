"""Polygons become the pixels whose centres lie in them, and none besides."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, cos, inf, nan, sin, tau
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exchange.polygon import box_corners, fill_polygon, turned

HEIGHT, WIDTH = 12, 16
QUARTERS = st.tuples(st.integers(-12, 4 * WIDTH + 12), st.integers(-12, 4 * HEIGHT + 12))
"""Corners in quarters of a pixel, so that sides pass through centres at times; also beyond the picture."""


def is_inside(x: Fraction, y: Fraction, corners: list[tuple[int, int]]) -> bool:
    """Whether a ray to the right crosses the polygon's sides an odd number of times; corners in quarters."""
    inside = False
    for (x_0, y_0), (x_1, y_1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (4 * y >= y_0) != (4 * y >= y_1):
            inside ^= 4 * x < x_0 + (4 * y - y_0) * Fraction(x_1 - x_0, y_1 - y_0)
    return inside


@given(st.lists(QUARTERS, max_size=7))
def test_exactly_the_pixels_whose_centres_lie_inside_are_filled(corners: list[tuple[int, int]]) -> None:
    half = Fraction(1, 2)
    wanted = [[is_inside(x + half, y + half, corners) for x in range(WIDTH)] for y in range(HEIGHT)]
    found_hw = fill_polygon([(x / 4, y / 4) for x, y in corners], HEIGHT, WIDTH)
    assert found_hw.dtype == np.bool_
    np.testing.assert_array_equal(found_hw, wanted)


@pytest.mark.parametrize("offset", [0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.9])
def test_a_box_has_its_own_size_wherever_it_lies_between_pixels(offset: float) -> None:
    left, top, right, bottom = 2 + offset, 3 + offset, 5 + offset, 7 + offset
    found_hw = fill_polygon([(left, top), (right, top), (right, bottom), (left, bottom)], HEIGHT, WIDTH)
    wanted_hw = np.zeros((HEIGHT, WIDTH), np.bool_)
    wanted_hw[ceil(top - 0.5) : ceil(bottom - 0.5), ceil(left - 0.5) : ceil(right - 0.5)] = True
    assert wanted_hw.sum() == 12
    np.testing.assert_array_equal(found_hw, wanted_hw)


def test_a_box_is_turned_clockwise_as_seen_on_the_screen_about_any_point() -> None:
    """Its upper left corner stays, the upper right one goes down."""
    corners_42 = turned(box_corners(5, 3, 9, 4), 90, (5, 3))
    np.testing.assert_allclose(corners_42, [[5, 3], [5, 7], [4, 7], [4, 3]], atol=1e-12)
    np.testing.assert_allclose(turned(box_corners(5, 3, 9, 4), 180, (7, 3.5)), [[9, 4], [5, 4], [5, 3], [9, 3]])


@pytest.mark.parametrize("quarters", [1, 2, 3, -1, 4])
@pytest.mark.parametrize("about", [(6.5, 5.5), (5.0, 5.0), (5.25, 4.75)])
def test_a_box_turned_by_right_angles_has_as_many_pixels_also_where_its_sides_pass_through_centres(
    quarters: int, about: tuple[float, float]
) -> None:
    corners_42 = turned(box_corners(4.5, 3.5, 8.5, 6.5), 90 * quarters, about)
    assert fill_polygon(corners_42, HEIGHT, WIDTH).sum() == 12


@given(st.lists(st.floats(0, HEIGHT), min_size=1, max_size=4), st.floats(-1, WIDTH + 1), st.floats(-1, WIDTH + 1))
def test_polygons_that_share_a_line_neither_overlap_nor_leave_a_gap(
    bends: list[float], start: float, end: float
) -> None:
    across = np.linspace(start, end, len(bends) + 2)[1:-1].tolist()
    line = [(start, -1.0), *zip(across, sorted(bends), strict=True), (end, HEIGHT + 1.0)]
    left_hw = fill_polygon([(-2, HEIGHT + 1), (-2, -1), *line], HEIGHT, WIDTH)
    right_hw = fill_polygon([(WIDTH + 2, HEIGHT + 1), (WIDTH + 2, -1), *line], HEIGHT, WIDTH)
    assert (left_hw ^ right_hw).all()


@pytest.mark.parametrize(
    "corners", [[], [(1, 1)], [(1, 1), (9, 9)], [(30, 1), (40, 1), (35, 9)], [(2, -9), (9, -1), (5, -5)]]
)
def test_what_has_no_area_in_the_picture_has_no_pixel(corners: list[tuple[float, float]]) -> None:
    assert not fill_polygon(corners, HEIGHT, WIDTH).any()


@pytest.mark.parametrize("bad", [nan, inf, -inf, 1e300])
def test_corners_that_are_no_places_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="corner"):
        fill_polygon([(1, 1), (bad, 3), (2, 9)], HEIGHT, WIDTH)


def test_a_large_polygon_with_many_corners_takes_less_than_a_second() -> None:
    """A star with 200 spikes over a panorama of 8192 x 4096 pixels."""
    radii = [4000 if number % 2 else 1500 for number in range(400)]
    corners = [(4096 + r * cos(tau * n / 400), 2048 + r * sin(tau * n / 400)) for n, r in enumerate(radii)]
    start = process_time()
    found_hw = fill_polygon(corners, 4096, 8192)
    assert process_time() - start < 1
    assert found_hw[2048, 4096] and not found_hw[0, 0]
