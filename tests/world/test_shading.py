"""Light: shadows fall where the sun is hidden, haze grows with distance, and the camera does what it is set to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.world.scene import Float
from pipeline.world.shading import develop, illuminate, sky_light, sunlit
from tests.world.hand_made import NOON, box, scene_of

UP = np.array([[0, -1, 0]], np.float32)
ROOF = box((0, -3, 10), (2, 0.2, 2))
"""Hangs over the road between z = 8 and 12."""


def points(*places: tuple[float, float, float]) -> Float:
    return np.array(places, np.float32)


def test_below_a_roof_it_is_dark_and_beside_it_and_on_it_light() -> None:
    below, beside, above = sunlit(scene_of(ROOF), points((0, -1, 10), (4, -1, 10), (0, -3.3, 10)))
    assert (below, beside, above) == (0, 1, 1)


def test_a_shadow_falls_away_from_the_sun() -> None:
    """At 45 degrees towards +x, what is three metres high throws its shadow three metres towards -x."""
    low_sun = replace(NOON, sun_3=(0.5**0.5, -(0.5**0.5), 0.0))
    shares = sunlit(scene_of(ROOF, light=low_sun), points((-3, 0, 10), (0, 0, 14), (3, 0, 10), (0, -1.5, 10)))
    assert shares.tolist() == [0, 1, 1, 0]


def test_soft_light_has_soft_edges() -> None:
    edge = points(*((x / 50, -0.2, 10) for x in range(50, 150)))
    hard, soft = (sunlit(scene_of(ROOF, light=replace(NOON, softness=s)), edge) for s in (0.1, 0.9))
    assert ((hard > 0) & (hard < 1)).mean() < ((soft > 0) & (soft < 1)).mean()
    assert soft[0] < 0.5 < soft[-1]


def lit(
    albedo: float, normal: Float, place: tuple[float, float, float] = (0, 0, 30), depth: float = 5.0, **light: object
) -> Float:
    scene = scene_of(ROOF, light=replace(NOON, **light))
    return illuminate(scene, np.full((1, 3), albedo, np.float32), points(place), normal, np.array([depth], np.float32))


def test_a_surface_that_faces_the_sun_is_the_brightest_and_a_black_one_gives_nothing() -> None:
    side, down = np.array([[1, 0, 0]], np.float32), -UP
    assert lit(0.5, UP).min() > lit(0.5, side).max() > lit(0.5, down).max() > 0
    np.testing.assert_array_equal(lit(0, UP), 0)
    np.testing.assert_allclose(lit(0.5, UP) / lit(0.25, UP), 4, rtol=1e-5)  # colours are rooted light


def test_shadow_takes_the_sun_and_a_part_of_the_sky() -> None:
    open_, hidden = lit(0.5, UP), lit(0.5, UP, place=(0, 0, 10))
    without_sun = lit(0.5, UP, sun_colour=(0.0, 0.0, 0.0))
    assert (hidden < without_sun).all() and (without_sun < open_).all() and (hidden > 0).all()


def test_haze_turns_what_is_far_into_the_horizon() -> None:
    clear, near, far = (lit(0.2, UP, depth=depth, haze=haze) for depth, haze in ((50, 0), (50, 0.005), (400, 0.05)))
    np.testing.assert_allclose(far, 0.8**2, atol=1e-3)
    assert (np.abs(near - 0.8**2) < np.abs(clear - 0.8**2)).all()


def test_a_clear_sky_goes_from_horizon_to_zenith_with_a_glow_around_the_sun() -> None:
    light = replace(NOON, sun_3=(0.0, -0.6, 0.8))
    level, away, sun = np.array([[1, 0, 0]]), np.array([[0, -1, 0]]), np.array([[0, -0.6, 0.8]])
    np.testing.assert_allclose(np.sqrt(sky_light(light, level.astype(np.float32))), [light.horizon], atol=0.05)
    np.testing.assert_allclose(np.sqrt(sky_light(light, away.astype(np.float32))), [light.zenith], atol=0.05)
    beside = np.array([[0, -0.8, -0.6]], np.float32)
    assert (sky_light(light, sun.astype(np.float32)) > 1.5 * sky_light(light, beside)).all()


def test_clouds_cover_more_of_the_sky_the_more_there_are() -> None:
    rng = np.random.default_rng(0)
    up = np.stack([rng.normal(size=2000), -np.abs(rng.normal(size=2000)) - 0.3, rng.normal(size=2000)], 1)
    up = (up / np.linalg.norm(up, axis=1, keepdims=True)).astype(np.float32)
    blue = [(light[:, 2] - light[:, 0]).mean() for light in
            (sky_light(replace(NOON, clouds=clouds), up) for clouds in (0.0, 0.5, 1.0))]  # fmt: skip
    assert blue[0] > blue[1] > blue[2]


def test_a_picture_is_brighter_with_more_exposure_and_within_eight_bits() -> None:
    radiance = np.full((8, 8, 3), 0.2, np.float32)
    means = [
        develop(replace(NOON, gain=(gain, gain, gain)), radiance, np.random.default_rng(0), True)
        for gain in (0.5, 1, 2)
    ]
    assert means[0].max() < means[1].min() and means[1].max() < means[2].min()
    assert np.ptp(means[1]) == 0  # no noise, nothing to blur
    blinding = develop(NOON, radiance * 1e6, np.random.default_rng(0), True)
    assert (blinding <= 255).all() and (develop(NOON, radiance * 0, np.random.default_rng(0), True) == 0).all()


def test_noise_is_as_strong_as_it_is_set() -> None:
    radiance = np.full((200, 200, 3), 0.2, np.float32)
    noisy = develop(replace(NOON, noise=0.01), radiance, np.random.default_rng(0), True)
    assert (noisy / 255).std() == pytest.approx(0.01, rel=0.05)


def test_blur_reaches_over_the_seam_of_a_panorama_alone() -> None:
    radiance = np.zeros((5, 9, 3), np.float32)
    radiance[2, 0] = 0.5
    panorama, picture = (develop(NOON, radiance, np.random.default_rng(0), wrap) for wrap in (True, False))
    assert (panorama[2, -1] > 0).all() and (picture[2, -1] == 0).all()
    np.testing.assert_allclose(panorama[2, 1], panorama[2, -1])
    assert (panorama[2, 0] > panorama[2, 1]).all() and (panorama[2, 2] == 0).all()
