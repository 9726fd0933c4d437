"""Blending predictions: by their weights alone, by how sure they are, and by how stretched the flat panorama is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.arrays import FloatArray
from pipeline.teacher.blending import Blender, certainty

UPRIGHT = np.ones(1)


def said(*of_classes: float) -> FloatArray:
    """Probabilities of one pixel."""
    return np.array(of_classes, np.float32)[:, None]


def test_without_options_shares_alone_count() -> None:
    blender = Blender(said(1, 0), np.array([0.1]))
    blender.add(said(0.4, 0.6), 0.25, is_flat=False)
    blender.add(said(0, 1), 0.5, is_flat=True)
    np.testing.assert_allclose(
        blender.blended_CN[:, 0], [0.5 * (0.75 + 0.25 * 0.4), 0.5 * (0.25 * 0.6) + 0.5], atol=1e-6
    )


def test_by_confidence_the_surer_prediction_counts_more() -> None:
    sure, unsure = said(0.9, 0.1), said(0.4, 0.6)
    counts = certainty(np.concatenate([sure, unsure], axis=1)) ** 2
    blender = Blender(sure.copy(), UPRIGHT, confidence_power=2)
    blender.add(unsure.copy(), 0.5, is_flat=False)
    expected = (counts[0] * sure + counts[1] * unsure) / counts.sum()
    np.testing.assert_allclose(blender.blended_CN, expected, atol=1e-6)


def test_three_predictions_count_by_the_product_of_share_and_certainty_whatever_is_blended_first() -> None:
    parts = [said(0.9, 0.1), said(0.3, 0.7), said(0.55, 0.45)]
    counts = certainty(np.concatenate(parts, axis=1)) * np.array([0.25, 0.25, 0.5])
    blender = Blender(parts[0].copy(), UPRIGHT, confidence_power=1)
    blender.add(parts[1].copy(), 0.5, is_flat=False)
    blender.add(parts[2].copy(), 0.5, is_flat=True)
    expected = sum(count * part for count, part in zip(counts, parts, strict=True)) / counts.sum()
    np.testing.assert_allclose(blender.blended_CN, expected, atol=1e-6)


def test_by_latitude_the_flat_panorama_counts_less_where_it_is_stretched_and_views_do_not() -> None:
    blender = Blender(said(1, 0), np.array([0.25]), latitude_power=1)
    blender.add(said(0, 1), 0.5, is_flat=False)
    np.testing.assert_allclose(blender.blended_CN[:, 0], [0.2, 0.8], atol=1e-6)
    flat = Blender(said(1, 0), np.array([0.25]), latitude_power=1)
    flat.add(said(0, 1), 0.5, is_flat=True)
    np.testing.assert_allclose(flat.blended_CN[:, 0], [0.5, 0.5], atol=1e-6)


def test_predictions_that_know_nothing_are_still_blended() -> None:
    blender = Blender(said(0.5, 0.5), UPRIGHT, confidence_power=4)
    blender.add(said(0.5, 0.5), 1.0, is_flat=False)
    np.testing.assert_allclose(blender.blended_CN[:, 0], 0.5)


def test_certainty_is_1_for_one_class_and_0_for_all_alike() -> None:
    assert certainty(said(1, 0, 0))[0] == pytest.approx(1)
    assert certainty(said(1 / 3, 1 / 3, 1 / 3))[0] == pytest.approx(0, abs=1e-6)


def test_high_powers_do_not_divide_nothing_by_nothing() -> None:
    unsure = np.full((19, 1), 1 / 19, np.float32)
    blender = Blender(unsure.copy(), np.array([1.5e-3]), confidence_power=8, latitude_power=8)
    blender.add(unsure.copy(), 0.5, is_flat=True)
    np.testing.assert_allclose(blender.blended_CN, 1 / 19, rtol=1e-6)


def test_one_class_alone_is_certain() -> None:
    np.testing.assert_array_equal(certainty(np.ones((1, 3), np.float32)), 1)
