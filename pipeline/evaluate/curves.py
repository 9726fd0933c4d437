"""A picture of figures over the steps of a training: shares of 0 to 1 as curves, one step marked.

Legend: H W picture, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import ImageArray

Curve = Sequence[tuple[int, float]]
"""(step, share) in the order of the steps."""
WIDTH, HEIGHT = 800, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 48, 40
_FONT = 14
_BACKGROUND, _INK, _GRID = (255, 255, 255), (30, 32, 36), (224, 226, 230)
_COLOURS = ((31, 119, 180), (214, 99, 0), (44, 140, 60), (148, 70, 170), (90, 90, 90))
_LINES = 5
"""Horizontal lines of the grid."""


def draw_curves(curves: Mapping[str, Curve], marked_step: int, mark: str) -> ImageArray:
    """Curves with a legend, in percent; the axis spans what they have.

    Args:
        curves: by name, with at least one point in all; at most as many as there are colours are told apart.
        marked_step: a vertical line is drawn here.
        mark: what is written beside it.

    Returns:
        [HEIGHT, WIDTH, 3].
    """
    points = [point for curve in curves.values() for point in curve]
    last = max(step for step, _ in points)
    low, high = _span([100 * share for _, share in points])
    picture = Image.new("RGB", (WIDTH, HEIGHT), _BACKGROUND)
    draw, font = ImageDraw.Draw(picture), cast(ImageFont.FreeTypeFont, ImageFont.load_default(_FONT))

    def x_of(step: float) -> float:
        return _LEFT + step / last * (WIDTH - _LEFT - _RIGHT)

    def y_of(percent: float) -> float:
        return HEIGHT - _BOTTOM - (percent - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    for percent in np.linspace(low, high, _LINES):
        draw.line((_LEFT, y_of(percent), WIDTH - _RIGHT, y_of(percent)), _GRID)
        draw.text((_LEFT - 6, y_of(percent)), f"{percent:.1f}", _INK, font, anchor="rm")
    for step in (0, last):
        draw.text((x_of(step), HEIGHT - _BOTTOM + 6), str(step), _INK, font, anchor="lt" if step == 0 else "rt")
    draw.text((WIDTH // 2, HEIGHT - 6), "step", _INK, font, anchor="mb")
    draw.text((6, 6), "%", _INK, font, anchor="lt")
    draw.line((x_of(marked_step), _TOP, x_of(marked_step), HEIGHT - _BOTTOM), _INK)
    side = "r" if marked_step > last / 2 else "l"
    draw.text((x_of(marked_step) + (-6 if side == "r" else 6), HEIGHT - _BOTTOM - 6), mark, _INK, font, f"{side}b")
    left = float(_LEFT)
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        line = [(x_of(step), y_of(100 * share)) for step, share in curve]
        draw.line(line, colour, width=2)
        for x, y in line:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)
        draw.rectangle((left, 12, left + _FONT, 12 + _FONT), colour)
        draw.text((left + _FONT + 6, 12 + _FONT // 2), name, _INK, font, anchor="lm")
        left += 2 * _FONT + 14 + font.getlength(name)
    return np.asarray(picture)


def _span(percents: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis, whole percents, at least two apart."""
    low, high = float(np.floor(min(percents))), float(np.ceil(max(percents)))
    return (low, high) if high - low >= 2 else (low - 1, high + 1)
