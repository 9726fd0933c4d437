"""Light of a scene: where the sun stands, how the sky looks, how the camera is set."""

from __future__ import annotations

from math import cos, radians, sin

import numpy as np

from pipeline.world.palette import colour
from pipeline.world.scene import Colour, Light


def _scaled(base: Colour, factor: float) -> Colour:
    return (base[0] * factor, base[1] * factor, base[2] * factor)


def _sky(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """(zenith, horizon): blue more often than not, else grey, white, dusky."""
    kind = rng.random()
    if kind < 0.6:
        zenith = (0.25 + 0.2 * rng.random(), 0.4 + 0.2 * rng.random(), 0.6 + 0.3 * rng.random())
    else:
        zenith = colour(rng, 0.3, 0.45, 0.9)
    horizon = colour(rng, 0.2, 0.6, 0.98)
    return (float(zenith[0]), float(zenith[1]), float(zenith[2])), horizon


def make_light(rng: np.random.Generator) -> Light:
    """Sunny with hard shadows, hazy, or overcast with soft ones; random exposure and white balance."""
    overcast = float(np.clip(rng.beta(0.6, 0.9), 0, 1))
    elevation, azimuth = radians(rng.uniform(22, 65) + 22 * overcast), rng.uniform(0, 2 * np.pi)
    sun_3 = (cos(elevation) * sin(azimuth), -sin(elevation), cos(elevation) * cos(azimuth))
    warm = rng.uniform(-0.12, 0.12)
    strength = 1.9 * (1 - 0.8 * overcast)
    zenith, horizon = _sky(rng)
    exposure = rng.uniform(0.8, 1.45)
    balance = rng.uniform(0.86, 1.14, 3)
    return Light(
        sun_3=(float(sun_3[0]), float(sun_3[1]), float(sun_3[2])),
        sun_colour=_scaled((1 + warm, 1.0, 1 - warm), float(strength)),
        sky_colour=_scaled((1 - warm * 0.6, 1.0, 1 + warm * 0.6), float(0.6 + 0.55 * overcast)),
        zenith=zenith,
        horizon=horizon,
        clouds=float(np.clip(overcast + rng.normal(0, 0.2), 0, 1)),
        softness=float(0.1 + 0.8 * overcast),
        haze=float(rng.uniform(0.0005, 0.006)),
        gain=(float(exposure * balance[0]), float(exposure * balance[1]), float(exposure * balance[2])),
        noise=float(rng.uniform(0.004, 0.018)),
    )
