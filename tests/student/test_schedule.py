from __future__ import annotations

import pytest
from torch import nn

from pipeline.student.config import DistillConfig
from pipeline.student.schedule import learning_rate_factor, parameter_groups

CONFIG = DistillConfig(steps=100, warmup_steps=10, poly_power=2.0, learning_rate=1e-3, head_multiplier=10)


def test_warm_up_is_linear_and_decay_polynomial() -> None:
    assert [learning_rate_factor(step, CONFIG) for step in (0, 4, 9, 10)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert learning_rate_factor(55, CONFIG) == pytest.approx(0.25)
    assert 0 < learning_rate_factor(99, CONFIG) < 1e-3


def test_every_step_learns_also_where_warm_up_is_longer_than_training() -> None:
    config = DistillConfig(steps=5, warmup_steps=500)
    assert [learning_rate_factor(step, config) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_encoder_learns_slower_and_norms_and_biases_do_not_decay() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_model_prefix = "segformer"
            self.segformer = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
            self.decode_head = nn.Linear(2, 2)

    groups = parameter_groups(Network(), nn.Conv2d(2, 2, 1), CONFIG)
    found = sorted((group["peak"], group["weight_decay"], len(group["params"])) for group in groups)
    assert found == [(1e-3, 0.0, 3), (1e-3, 1e-4, 1), (1e-2, 0.0, 2), (1e-2, 1e-4, 2)]
