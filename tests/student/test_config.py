"""Settings of stage two: what is refused, with the setting's name."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.student.config import LOSSES, DistillConfig, LossConfig, StudentConfig


@pytest.mark.parametrize(
    ("kind", "settings", "found"),
    [
        (StudentConfig, {"size": "b5"}, "student.size is 'b5'"),
        (StudentConfig, {"scale": 1.3}, "student.scale is 1.3; it must be one of 1.0, 1.5, 2.0"),
        (StudentConfig, {"scale": 1.5, "kind": "transformers", "weights": "own"}, "and 1 unless student.kind is"),
        (LossConfig, {"boundary": -0.1}, "losses.boundary is -0.1"),
        (LossConfig, dict.fromkeys(LOSSES, 0.0), "at least one weight above 0"),
        (LossConfig, {"class_balance": 1.5}, "losses.class_balance is 1.5"),
        (LossConfig, {"temperature": 0.0}, "losses.temperature is 0.0"),
        (LossConfig, {"feature_form": "l1"}, "losses.feature_form is 'l1'; .*'cosine', 'mse', 'channels'"),
        (LossConfig, {"feature_temperature": 0.0}, "losses.feature_temperature is 0.0"),
        (LossConfig, {"edge_share": 1.0}, "losses.edge_share is 1.0"),
        (LossConfig, {"stride": 3}, "losses.stride is 3"),
        (DistillConfig, {"average": 1.0}, "distill.average is 1.0; it must be from 0 to 0.9998 at 20000 steps"),
        (DistillConfig, {"average": 0.99, "steps": 300}, "near its start"),
        (DistillConfig, {"average": 0.5, "steps": 1}, "from 0 to 0 at 1 steps"),
        (DistillConfig, {"steps": 0}, "distill.steps is 0"),
        (DistillConfig, {"learning_rate": 0.0}, "distill.learning_rate is 0.0"),
        (DistillConfig, {"crop_width": 48}, "distill.crop_width is 48"),
        (DistillConfig, {"colour_jitter": 1.0}, "distill.colour_jitter is 1.0"),
        (DistillConfig, {"precision": "float16"}, "distill.precision is 'float16'"),
        (DistillConfig, {"sample_memory_gb": -1.0}, "distill.sample_memory_gb is -1.0"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_setting_without_a_meaning_is_refused_by_name(kind: type[Any], settings: dict[str, Any], found: str) -> None:
    with pytest.raises(RecipeError, match=found):
        kind(**settings)
