"""One pass of the student through its network; in training, by the quick way where it is known to be the same.

Legend: B batch, C classes, D feature channels, H W input, h w a quarter of it, 3 = RGB.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, SegformerConfig

from pipeline.segformer import can_be_reordered, classify, join_levels, joining_parameters, segment
from pipeline.student.any_network import levels_among, to_quarter
from pipeline.student.by_sample import run_by_sample

_RANDOM = ("drop_path_rate", "hidden_dropout_prob", "attention_probs_dropout_prob")
"""Settings of a SegFormer that let its encoder draw random numbers in training, where they are not 0."""


LEVEL_STRIDES = (4, 8, 16, 32)
"""Pixels per feature of the encoder's levels 1..4."""


def pass_through(model: PreTrainedModel, pixels_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits [B, C, h, w] and the encoder's levels 1..4 [B, D, rows, columns] of normalised pixels; no levels where the
    network has no maps of LEVEL_STRIDES.

    The decode head is computed in another order (see `pipeline.segformer`); in training on a CPU, samples are computed
    apart (see `by_sample`) unless the encoder draws random numbers.
    """
    if not can_be_reordered(model):
        output = cast(Any, model)(pixel_values=pixels_B3HW, output_hidden_states=True)
        size = (pixels_B3HW.shape[-2], pixels_B3HW.shape[-1])
        return to_quarter(output.logits, *size), levels_among(output.hidden_states or (), *size, LEVEL_STRIDES)
    in_training = model.training and torch.is_grad_enabled()
    if not in_training or pixels_B3HW.device.type != "cpu" or _draws(model.config):
        return segment(model, pixels_B3HW)

    def joined_levels(of_pixels_B3HW: Tensor) -> tuple[Tensor, ...]:
        levels = model.segformer(pixel_values=of_pixels_B3HW, output_hidden_states=True).hidden_states
        return (*levels, join_levels(model.decode_head, levels))

    parameters = [*model.segformer.parameters(), *joining_parameters(model.decode_head)]
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    *levels, joined_BDhw = run_by_sample(joined_levels, pixels_B3HW, learned)
    return classify(model.decode_head, joined_BDhw), tuple(levels)


def _draws(architecture: SegformerConfig) -> bool:
    return any(getattr(architecture, rate) > 0 for rate in _RANDOM)
