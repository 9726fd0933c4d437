"""Green view index, sky view factor and doubt against what geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE, LabelSet
from pipeline.evaluate.indices import (
    confidence,
    cosine_weights,
    doubt,
    green_view_index,
    seen_shares,
    sky_view_factor,
)
from pipeline.panorama.sphere import panorama_rays, solid_angles

ROAD, VEGETATION, TERRAIN, SKY = 0, 8, 9, 10
H, W = 512, 1024


def canyon(elevation: float, vertical_fov: float = 180.0, height: int = H) -> np.ndarray:
    """Sky from the zenith down to an elevation (degrees) all round, road below."""
    up = -panorama_rays(height, W, vertical_fov)[..., 1]
    return np.where(up > np.sin(np.radians(elevation)), SKY, ROAD).astype(np.uint8)


@pytest.mark.parametrize("elevation", [0, 20, 45, 70])
def test_the_sky_above_an_elevation_has_the_view_factor_of_its_cosine(elevation: float) -> None:
    expected = np.cos(np.radians(elevation)) ** 2  # integral of sin cos from there to the zenith, over a half
    assert sky_view_factor(canyon(elevation), DENSEPASS_13, 180) == pytest.approx(expected, abs=3e-3)


def test_what_lies_low_hides_less_sky_than_what_lies_high() -> None:
    low, high = np.full((2, H, W), SKY, np.uint8)
    up = -panorama_rays(H, W)[..., 1]
    low[(up > 0) & (up < 0.2)] = ROAD
    high[up > 0.8] = ROAD  # the same solid angle
    of_low, of_high = (sky_view_factor(labels, DENSEPASS_13, 180) for labels in (low, high))
    assert of_low == pytest.approx(1 - 0.2**2, abs=2e-3) and of_high == pytest.approx(0.8**2, abs=2e-3)


def test_the_weights_of_a_sphere_sum_to_pi_and_those_of_the_ground_are_0() -> None:
    weights = cosine_weights(H, W, 180)
    assert W * weights.sum() == pytest.approx(np.pi)
    assert (weights[H // 2 :] == 0).all()


def test_what_is_not_seen_does_not_count_while_it_is_little() -> None:
    labels = canyon(30)
    labels[:, : W // 16] = IGNORE
    assert sky_view_factor(labels, DENSEPASS_13, 180) == pytest.approx(0.75, abs=3e-3)
    labels[:, : W // 4] = IGNORE
    assert sky_view_factor(labels, DENSEPASS_13, 180) is None


def test_a_band_that_ends_below_the_zenith_has_none() -> None:
    assert sky_view_factor(canyon(20, 70.0, 200), DENSEPASS_13, 70.0) is None


def test_classes_without_sky_or_green_have_no_index() -> None:
    indoors = LabelSet("indoors", ("wall", "floor"), ((0, 0, 0), (1, 1, 1)), ())
    assert sky_view_factor(np.zeros((H, W), np.uint8), indoors, 180) is None
    assert green_view_index([0.5, 0.5, 0.0], indoors) is None


def test_green_is_the_share_of_what_was_seen_without_terrain() -> None:
    shares = np.zeros(20)
    shares[[ROAD, VEGETATION, TERRAIN, -1]] = (0.4, 0.2, 0.2, 0.2)
    assert green_view_index(shares, CITYSCAPES_19) == pytest.approx(0.25)
    assert green_view_index([*[0.0] * 19, 1.0], CITYSCAPES_19) is None
    assert seen_shares([0.0, 1.0]) is None


def test_one_of_several_names_is_enough() -> None:
    ade = LabelSet(
        "ade", ("wall", "tree", "plant;flora;plant life", "palm, palm tree", "planter"), ((0, 0, 0),) * 5, ()
    )
    assert green_view_index([0.1, 0.2, 0.3, 0.1, 0.3, 0.0], ade) == pytest.approx(0.6)


@pytest.mark.parametrize("are_probabilities", [False, True])
def test_confidence_is_the_largest_probability(are_probabilities: bool) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (5, 6, 8)).astype(np.float32)
    probabilities = softmax(logits, axis=0)
    found = confidence(probabilities if are_probabilities else logits, are_probabilities)
    np.testing.assert_allclose(found, probabilities.max(axis=0), rtol=1e-5)


def test_doubt_is_weighted_by_solid_angle_and_leaves_out_what_was_not_seen() -> None:
    sure, ignored = np.full((4, 8), 0.9), np.zeros((4, 8), np.bool_)
    sure[0], ignored[3] = 0.5, True
    weights = solid_angles(4, 8)
    expected = 1 - (0.5 * weights[0] + 0.9 * weights[1] + 0.9 * weights[2]) / weights[:3].sum()
    assert doubt(sure, ignored, weights) == pytest.approx(expected)
    assert doubt(sure, np.ones((4, 8), np.bool_), weights) is None
