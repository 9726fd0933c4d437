"""Colours drawn for things: within their bounds, and so varied that colour alone does not tell a class."""

from __future__ import annotations

from collections.abc import Callable
from colorsys import rgb_to_hsv

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.world.palette import colour, grey, leaf, paint, shade, skin
from pipeline.world.scene import Colour

Draw = Callable[[np.random.Generator], Colour]


def drawn(draw: Draw, count: int = 500) -> npt.NDArray[np.float64]:
    """Hue, saturation and brightness of many, [N, 3]."""
    rng = np.random.default_rng(0)
    return np.array([rgb_to_hsv(*draw(rng)) for _ in range(count)])


@pytest.mark.parametrize(
    ("draw", "saturation", "low", "high"),
    [
        (lambda rng: colour(rng, 0.4, 0.3, 0.8), 0.4, 0.3, 0.8),
        (grey, 0.3, 0.25, 0.75),
        (lambda rng: grey(rng, 0.1, 0.2), 0.3, 0.1, 0.2),
        (leaf, 0.65, 0.2, 0.75),
        (skin, 0.55, 0.25, 0.9),
        (paint, 0.95, 0.06, 0.9),
    ],
    ids=["colour", "grey", "dark grey", "leaf", "skin", "paint"],
)
def test_saturation_and_brightness_stay_within_their_bounds_and_reach_them(
    draw: Draw, saturation: float, low: float, high: float
) -> None:
    hsv_N3 = drawn(draw)
    assert hsv_N3[:, 1].max() <= saturation + 1e-9
    assert hsv_N3[:, 1].max() > 0.85 * saturation
    assert hsv_N3[:, 2].min() >= low - 1e-9 and hsv_N3[:, 2].max() <= high + 1e-9
    assert np.ptp(hsv_N3[:, 2]) > 0.9 * (high - low)


def test_any_hue_occurs_and_warm_ones_most() -> None:
    hues = drawn(lambda rng: colour(rng, 0.9, 0.5, 0.9))[:, 0]
    counts = np.histogram(hues, bins=6, range=(0, 1))[0]
    assert counts.min() > 15
    assert counts[0] > 2 * counts[1:].max()


def test_most_greys_are_nearly_without_colour() -> None:
    assert 0.6 < (drawn(grey)[:, 1] < 0.1).mean() < 0.95


def test_leaves_are_green_more_often_than_not() -> None:
    hues = drawn(leaf)[:, 0]
    green = ((hues >= 0.17) & (hues <= 0.42)).mean()
    assert 0.65 < green < 0.85


def test_skin_is_between_red_and_yellow() -> None:
    hues = drawn(skin)[:, 0]
    assert hues.min() >= 0.03 - 1e-9 and hues.max() <= 0.09 + 1e-9


def test_paint_is_often_strong() -> None:
    assert (drawn(paint)[:, 1] > 0.4).mean() > 0.1 > (drawn(grey)[:, 1] > 0.4).mean()


def test_shades_are_darker_or_lighter_and_never_beyond_white() -> None:
    assert shade((0.2, 0.4, 0.8), 0.5) == pytest.approx((0.1, 0.2, 0.4))
    assert shade((0.9, 0.8, 0.7), 2) == (1.0, 1.0, 1.0)
    assert shade((0.2, 0.4, 0.8), 2) == pytest.approx((0.4, 0.8, 1.0))


def test_equal_generators_draw_equal_colours() -> None:
    assert paint(np.random.default_rng(5)) == paint(np.random.default_rng(5)) != paint(np.random.default_rng(6))
