"""Colours. Nearly every class draws from the same pool, so that colour alone cannot tell what a thing is."""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np

from pipeline.world.scene import Colour


def colour(rng: np.random.Generator, strength: float, low: float, high: float) -> Colour:
    """Any colour: mostly dull, of any hue; strength bounds the saturation, low and high the brightness."""
    warm = rng.random() < 0.5
    hue = rng.normal(0.09, 0.06) % 1 if warm else rng.random()
    return hsv_to_rgb(hue, strength * rng.random() ** 1.3, rng.uniform(low, high))


def grey(rng: np.random.Generator, low: float = 0.25, high: float = 0.75) -> Colour:
    """Stone, asphalt, concrete: a little tinted, sometimes clearly."""
    return colour(rng, 0.3 if rng.random() < 0.25 else 0.1, low, high)


def leaf(rng: np.random.Generator) -> Colour:
    """Plants: green more often than not, else autumn, copper, silver or dry."""
    kind = rng.random()
    if kind < 0.72:
        return hsv_to_rgb(rng.uniform(0.17, 0.42), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6))
    if kind < 0.88:
        return hsv_to_rgb(rng.uniform(0.02, 0.15), rng.uniform(0.2, 0.65), rng.uniform(0.3, 0.75))
    return colour(rng, 0.4, 0.2, 0.7)


def skin(rng: np.random.Generator) -> Colour:
    """Skin from dark to light."""
    return hsv_to_rgb(rng.uniform(0.03, 0.09), rng.uniform(0.3, 0.55), rng.uniform(0.25, 0.9))


def paint(rng: np.random.Generator) -> Colour:
    """Strong or plain paint: cars, clothes, signs, doors."""
    return colour(rng, 0.95, 0.1, 0.9) if rng.random() < 0.4 else grey(rng, 0.06, 0.9)


def shade(base: Colour, factor: float) -> Colour:
    """Darker (< 1) or lighter (> 1)."""
    return (min(base[0] * factor, 1.0), min(base[1] * factor, 1.0), min(base[2] * factor, 1.0))
