"""Light of many scenes: the sun is up, clouds dim it and soften shadows, and values stay where cameras work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.world.scene import Light
from pipeline.world.weather import make_light

LIGHTS = [make_light(np.random.default_rng(seed)) for seed in range(300)]


def column(name: str) -> npt.NDArray[np.float64]:
    """A field of all lights."""
    return np.array([getattr(light, name) for light in LIGHTS])


def test_equal_seeds_give_equal_light_and_others_another() -> None:
    assert make_light(np.random.default_rng(3)) == LIGHTS[3] != LIGHTS[4]


def test_the_sun_is_a_direction_well_above_the_horizon_all_around() -> None:
    sun_N3 = column("sun_3")
    np.testing.assert_allclose(np.linalg.norm(sun_N3, axis=1), 1, atol=1e-12)
    elevation = np.degrees(np.arcsin(-sun_N3[:, 1]))  # y points down
    assert elevation.min() >= 22 and elevation.max() <= 87
    quadrants = np.floor(np.degrees(np.arctan2(sun_N3[:, 0], sun_N3[:, 2])) / 90)
    assert min(np.unique(quadrants, return_counts=True)[1]) > 40
    assert len(np.unique(quadrants)) == 4


def test_clouds_dim_the_sun_brighten_the_shade_and_soften_shadows() -> None:
    softness, sun, sky = column("softness"), column("sun_colour")[:, 1], column("sky_colour")[:, 1]
    overcast = (softness - 0.1) / 0.8
    assert overcast.min() >= 0 and overcast.max() <= 1
    np.testing.assert_allclose(sun, 1.9 * (1 - 0.8 * overcast))
    np.testing.assert_allclose(sky, 0.6 + 0.55 * overcast)
    assert np.corrcoef(overcast, column("clouds"))[0, 1] > 0.7
    assert (overcast < 0.2).mean() > 0.2 and (overcast > 0.8).mean() > 0.1, "days are clear, and some are grey"


def test_a_warm_sun_has_a_cold_shade() -> None:
    sun, sky = column("sun_colour"), column("sky_colour")
    warm_sun, warm_sky = sun[:, 0] / sun[:, 1] - 1, sky[:, 0] / sky[:, 1] - 1
    assert np.abs(warm_sun).max() <= 0.12
    np.testing.assert_allclose(warm_sky, -0.6 * warm_sun, atol=1e-12)
    np.testing.assert_allclose(sun[:, 0] + sun[:, 2], 2 * sun[:, 1])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("clouds", 0, 1), ("haze", 0.0005, 0.006), ("noise", 0.004, 0.018), ("zenith", 0, 1), ("horizon", 0.48, 0.98),
     ("gain", 0.8 * 0.86, 1.45 * 1.14)],
)  # fmt: skip
def test_values_stay_in_their_range_and_use_it(name: str, low: float, high: float) -> None:
    values = column(name)
    assert values.min() >= low and values.max() <= high
    assert np.ptp(values) > 0.5 * (high - low)


def test_numbers_are_pythons_own() -> None:
    """A scene is written as text, where numpy's numbers would say their type."""
    light: Light = LIGHTS[0]
    numbers = [number for value in vars(light).values() for number in (value if isinstance(value, tuple) else (value,))]
    assert {type(number) for number in numbers} == {float}
