"""A SegFormer of transformers with its decode head's products in another order: assistants and students.

The head projects every level, enlarges all to the finest, and joins them by a 1x1 convolution. A 1x1 convolution and a
bilinear enlargement can change places, for the weights of the one are the same at every pixel and those of the other
in every channel. So the convolution and the projection of a level become one product, which is done before the
enlargement, where a level has its fewest pixels; nothing of the width of all levels together is ever made. The same but
for rounding, in half to two thirds of the time of a small network (`python -m scripts.measure_decode_head`).

Legend: B batch, C classes, D channels of the head, H W input, h w the finest level's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SegformerForSemanticSegmentation
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

_PARTS = ("linear_projections", "linear_fuse", "batch_norm", "activation", "dropout", "classifier")
"""What this module knows of the decode head."""


def can_be_reordered(network: nn.Module) -> TypeGuard[SegformerForSemanticSegmentation]:
    """Whether a network is exactly transformers' SegFormer, with the parts that this module knows."""
    if type(network) is not SegformerForSemanticSegmentation:
        return False
    head = network.decode_head
    return type(head) is SegformerDecodeHead and all(hasattr(head, part) for part in _PARTS)


def segment(network: SegformerForSemanticSegmentation, pixels_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits [B, C, h, w] and the encoder's levels, the finest first, [B, channels, rows, columns] each.

    Args:
        network: one that `can_be_reordered`.
        pixels_B3HW: normalised.
    """
    levels = network.segformer(pixel_values=pixels_B3HW, output_hidden_states=True).hidden_states
    return classify(network.decode_head, join_levels(network.decode_head, levels)), tuple(levels)


def joining_parameters(head: Any) -> list[nn.Parameter]:
    """What `join_levels` learns."""
    return [*head.linear_projections.parameters(), head.linear_fuse.weight]


def join_levels(head: Any, levels: Sequence[Tensor]) -> Tensor:
    """The levels joined at the finest's resolution, [B, D, h, w], before the norm; samples do not mix.

    Args:
        head: of a network that `can_be_reordered`.
        levels: the encoder's, the finest first, [B, channels, rows, columns] each.
    """
    size = levels[0].shape[-2:]
    # The head stacks the levels the coarsest first.
    parts = head.linear_fuse.weight[:, :, 0, 0].chunk(len(levels), dim=1)[::-1]
    projections = [projection.proj for projection in head.linear_projections]
    with torch.autocast(levels[0].device.type, enabled=False):  # rounded once, like any other weights
        weights = [part @ projection.weight for part, projection in zip(parts, projections, strict=True)]
        biases = [part @ projection.bias for part, projection in zip(parts, projections, strict=True)]
        bias = torch.stack(biases).sum(dim=0)
    joined = _per_pixel(levels[0], weights[0], bias)
    for level, weight in zip(levels[1:], weights[1:], strict=True):
        joined = joined + functional.interpolate(_per_pixel(level, weight, None), size=size, mode="bilinear")
    return joined


def classify(head: Any, joined_BDhw: Tensor) -> Tensor:
    """Logits [B, C, h, w] of what `join_levels` returned."""
    features = head.dropout(head.activation(head.batch_norm(joined_BDhw)))
    return _per_pixel(features, head.classifier.weight[:, :, 0, 0], head.classifier.bias)


def _per_pixel(x_BDhw: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 1x1 convolution as a product of matrices, channels last in memory as the encoder has them."""
    return functional.linear(x_BDhw.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
