"""Checks whether a mask decoder is exactly segment_anything's, so that its products may be rearranged.

A decoder of the same sizes is built (without memory for its weights) and compared module by module: classes, settings,
shapes, and nothing added. Any difference rules rearranging out. Fine-tuned weights are no difference.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

_COMPARED_TYPES = (bool, int, float, str, tuple, type(None))


def unsupported_decoder_reason(sam: Sam) -> str | None:
    """Why the decoder of this SAM cannot be folded; None where it can."""
    for module, expected in (
        (sam.prompt_encoder, PromptEncoder),  # others may give each prompt its own dense embedding
        (sam.mask_decoder, MaskDecoder),
        (getattr(sam.mask_decoder, "transformer", None), TwoWayTransformer),
    ):
        if type(module) is not expected:
            return f"{full_name(type(module))} is not {full_name(expected)}"
    if len(cast(TwoWayTransformer, sam.mask_decoder.transformer).layers) == 0:
        return "the transformer has no layers"
    decoder = sam.mask_decoder
    return _first_difference(sam.prompt_encoder, None) or _first_difference(decoder, _reference(decoder))


def _reference(decoder: MaskDecoder) -> MaskDecoder:
    """segment_anything's decoder of the same sizes, without memory for its weights."""
    transformer = cast(TwoWayTransformer, decoder.transformer)
    head = decoder.iou_prediction_head
    with torch.device("meta"):
        return MaskDecoder(
            transformer_dim=decoder.transformer_dim,
            num_multimask_outputs=decoder.num_multimask_outputs,
            iou_head_depth=head.num_layers,
            iou_head_hidden_dim=cast(nn.Linear, head.layers[0]).out_features,
            transformer=TwoWayTransformer(
                depth=transformer.depth,
                embedding_dim=transformer.embedding_dim,
                num_heads=transformer.num_heads,
                mlp_dim=transformer.mlp_dim,
                attention_downsample_rate=decoder.transformer_dim // transformer.final_attn_token_to_image.internal_dim,
            ),
        )


def _first_difference(module: nn.Module, reference: nn.Module | None) -> str | None:
    """The first difference between a module and a reference, or hook on the module; None if there is none."""
    found = dict(module.named_modules())
    for name, child in found.items():
        if is_hooked(child):
            return f"{full_name(type(module))}.{name or '()'} has hooks or a forward of its own"
    if reference is None:
        return None
    expected = dict(reference.named_modules())
    for name in found.keys() | expected.keys():
        if name not in found or name not in expected or _signature(found[name]) != _signature(expected[name]):
            return f"{full_name(type(module))}.{name or '()'} is not as segment_anything builds it"
    return None


def is_hooked(module: nn.Module) -> bool:
    """Whether a call of the module does anything else than its class's `forward`."""
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


def _signature(module: nn.Module) -> tuple[object, ...]:
    """Class, settings and shapes of one module, its children left out."""
    public = {key: value for key, value in vars(module).items() if not key.startswith("_") and key != "training"}
    settings = {key: value if isinstance(value, _COMPARED_TYPES) else type(value) for key, value in public.items()}
    own = [*module._parameters.items(), *module._buffers.items()]
    shapes = {name: None if tensor is None else tuple(tensor.shape) for name, tensor in own}
    return type(module), settings, shapes


def full_name(kind: type[Any]) -> str:
    """Class with its module, for messages."""
    return f"{kind.__module__}.{kind.__qualname__}"
