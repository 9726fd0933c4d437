"""Settings of stage one: what is refused, with the setting's name."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.teacher.config import AssistantConfig, BoundaryConfig, SamConfig


@pytest.mark.parametrize(
    ("kind", "settings", "found"),
    [
        (SamConfig, {"kind": "sam2"}, "sam.kind is 'sam2'"),
        (SamConfig, {"kind": "transformers"}, "sam.name is ''; it must be a hub name or folder"),
        (SamConfig, {"name": "facebook/sam2"}, "sam.name is 'facebook/sam2'; it must be empty unless"),
        (SamConfig, {"kind": "transformers", "name": "a", "crop_n_layers": 1}, "sam.crop_n_layers is 1"),
        (SamConfig, {"model": "vit_b"}, "sam.checkpoint is ''; .*goodsam fetch-weights vit_b"),
        (SamConfig, {"kind": "stock", "precision": "bfloat16"}, "sam.precision is 'bfloat16'"),
        (SamConfig, {"points_per_side": 0}, "sam.points_per_side is 0"),
        (SamConfig, {"stability_score_thresh": 1.5}, "sam.stability_score_thresh is 1.5"),
        (SamConfig, {"crop_overlap_ratio": 1.0}, "sam.crop_overlap_ratio is 1.0"),
        (SamConfig, {"points_per_side": 2, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2}, "last layer"),
        (AssistantConfig, {"kind": "transformers"}, "assistant.name is ''"),
        (AssistantConfig, {"output": "out"}, "assistant.output is 'out'"),
        (AssistantConfig, {"kind": "onnx", "name": "a", "precision": "bfloat16"}, "assistant.precision is 'bfloat16'"),
        (AssistantConfig, {"window_scale": 0.0}, "assistant.window_scale is 0.0"),
        (AssistantConfig, {"whole_weight": 0.6, "views_weight": 0.5}, "assistant.views_weight is 0.5"),
        (AssistantConfig, {"feature_levels": (1, 1)}, r"assistant.feature_levels is \(1, 1\)"),
        (BoundaryConfig, {"radius": -1}, "boundary.radius is -1"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_setting_without_a_meaning_is_refused_by_name(kind: type[Any], settings: dict[str, Any], found: str) -> None:
    with pytest.raises(RecipeError, match=found):
        kind(**settings)


def test_the_generator_gets_the_settings_by_its_own_names() -> None:
    settings = SamConfig(points_per_side=7, memory_gib=2).generator_settings()
    assert settings["points_per_side"] == 7
    assert not settings.keys() & {"kind", "name", "model", "checkpoint", "precision", "memory_gib"}
