"""The evidence for `goodsam tune`: what its tables say of scenes that the test makes up."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from pipeline.tune.judge import Judgement
from scripts.measure_tune import Records, report, summaries


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
    assert "the recipe's own: 58.3 / 75.0; best in truth: 90.5 / 95.0 (b)" in table
