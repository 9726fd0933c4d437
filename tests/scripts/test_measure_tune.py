"""The evidence for `goodsam tune`: what its tables say of scenes that the test makes up."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice

import numpy as np
import pytest

from pipeline.tune.judge import Judgement
from pipeline.world import build_scene
from scripts.measure_tune import SCENES, Records, report, scenes, summaries


def scene(*rights: float) -> Records:
    """Blends a, b, ... that are right on so many of 100 pixels of two classes; all scores but MaNo rank them so."""
    return {
        name: {
            "judged": asdict(Judgement(right, right, right, right, 2, 1 - right, right)),
            "truth": np.array([[100 * right, 100 - 100 * right], [0, 100]]).round().astype(int).tolist(),
        }
        for name, right in zip("abc", rights, strict=True)
    }


def test_blends_are_summed_over_scenes() -> None:
    first, second, third = summaries([scene(0.5, 0.7, 0.9), scene(0.7, 0.9, 0.9)])
    assert [blend.label for blend in (first, second, third)] == ["a", "b", "c"]
    assert first.pixels == pytest.approx((60 + 100) / 200) and first.mean.purity == pytest.approx(0.6)
    assert first.miou == pytest.approx((60 / 100 + 100 / 140) / 2)


def test_a_score_that_ranks_as_the_truth_does_has_a_correlation_of_one() -> None:
    table = report(summaries([scene(0.5, 0.9, 0.7)]))
    assert "| purity | 1.00 | 1.00 | 90.5 / 95.0 |" in table
    assert "| mano | -1.00 | -1.00 |" in table
    assert "tune's choice: 90.5 / 95.0 (b)" in table
    assert "the recipe's own: 58.3 / 75.0; best in truth: 90.5 / 95.0 (b)" in table


def test_blends_of_views_that_are_left_out_are_not_chosen() -> None:
    made = scene(0.5, 0.9, 0.7)
    made["b"]["groups"] = ["zenith"]
    table = report(summaries([made]), ["zenith"])
    assert "views left out: zenith" in table and "tune's choice: 73.5 / 85.0 (c)" in table


@pytest.mark.slow
def test_overcast_scenes_are_others_than_the_usual() -> None:
    usual, overcast = list(islice(scenes(overcast=False), 20)), list(islice(scenes(overcast=True), 2))
    assert usual == list(SCENES[:20]) and not set(usual) & set(overcast)
    assert all(build_scene(seed).light.clouds >= 0.8 for seed in overcast)
