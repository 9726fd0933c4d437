"""Blends of ways to see a panorama: weighted means that share the weight of what sees nothing."""

from __future__ import annotations

import numpy as np

from pipeline.panorama.config import VIEW_GROUPS
from pipeline.world.seeds import MODEL_VALIDATION
from scripts import measure_fusion
from scripts.measure_views import GROUPS, SCENES, Prediction, blend, joined_views


def seen(value: float, *weights: float) -> Prediction:
    """A prediction of one class with this probability where there is weight, in one row."""
    weight_HW = np.array([weights], np.float32)
    return Prediction(np.where(weight_HW > 0, np.float32(value), np.float32(0))[None], weight_HW)


def test_joined_groups_count_by_the_weight_of_their_views() -> None:
    found = joined_views([seen(1.0, 0.5, 0.5, 0), seen(0.2, 0.5, 0, 0)])
    np.testing.assert_allclose(found.weight_HW, [[1, 0.5, 0]])
    np.testing.assert_allclose(found.mean_CHW, [[[0.6, 1.0, 0]]], atol=1e-6)


def test_a_blend_is_the_weighted_mean_and_what_sees_nothing_leaves_its_weight_to_others() -> None:
    found = blend([(3, seen(1.0, 1, 1, 1)), (1, seen(0.2, 1, 0, 0.25))])
    np.testing.assert_allclose(found, [[[0.8, 1.0, (3 + 0.1) / 3.5]]], atol=1e-6)


def test_from_half_a_weight_on_a_part_counts_fully() -> None:
    half, full = (blend([(1, seen(1.0, 1)), (1, seen(0.0, weight))]) for weight in (0.5, 1))
    np.testing.assert_allclose(half, full)


def test_groups_share_out_the_views_of_their_set() -> None:
    counts = {name: {group: config.count(group) for group in VIEW_GROUPS} for name, config in GROUPS.items()}
    for views, total in (("26x320", 26), ("16x256", 16)):
        own = [counts[f"{views} {part}"] for part in ("level", "lower", "upper")]
        assert sum(sum(group.values()) for group in own) == total
        assert all(sum(group[name] > 0 for group in own) == 1 for name in VIEW_GROUPS), "each group in one part"


def test_no_scene_was_used_for_another_choice() -> None:
    others = {seed for seeds in measure_fusion.SCENES.values() for seed in seeds}
    assert set(SCENES[:12]) <= set(MODEL_VALIDATION) and not set(SCENES[:12]) & others
