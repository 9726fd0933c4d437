"""Learning rates per group of parameters: linear warm-up, then polynomial decay to zero.

A function of the step alone, so that resuming is exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.student.any_network import encoder_prefix
from pipeline.student.config import DistillConfig


def learning_rate_factor(step: int, config: DistillConfig) -> float:
    """Share of the peak learning rate at `step` (0 .. steps - 1): in (0, 1], at most 1 / warmup_steps at first."""
    warmup = min(config.warmup_steps, config.steps)
    if step < warmup:
        return (step + 1) / warmup
    return (1 - (step - warmup) / max(config.steps - warmup, 1)) ** config.poly_power


def parameter_groups(model: nn.Module, projections: nn.Module, config: DistillConfig) -> list[dict[str, Any]]:
    """Encoder and head learn at their own rates; biases and norms (one-dimensional) do not decay.

    The encoder is the module that transformers names so; where it names none, everything counts as head.
    """
    prefix = encoder_prefix(model)
    named = [*model.named_parameters(), *((f"projections.{name}", p) for name, p in projections.named_parameters())]
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in named:
        encoder, decays = bool(prefix) and name.startswith(prefix), parameter.ndim > 1
        peak = config.learning_rate * (1 if encoder else config.head_multiplier)
        group = {"params": [], "lr": peak, "peak": peak, "weight_decay": config.weight_decay if decays else 0.0}
        groups.setdefault((encoder, decays), group)["params"].append(parameter)
    return list(groups.values())


def set_learning_rates(optimizer: torch.optim.Optimizer, step: int, config: DistillConfig) -> float:
    """Set every group's rate for `step`. Returns the encoder's."""
    factor = learning_rate_factor(step, config)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return config.learning_rate * factor
