"""Only decoders that are exactly segment_anything's are rearranged."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from segment_anything.modeling import Sam
from torch import nn

from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.generator.architecture import is_hooked, unsupported_decoder_reason


class OtherDecoder(nn.Module):
    """A decoder of another class."""


def replace_decoder(sam: Sam) -> None:
    sam.mask_decoder = OtherDecoder()  # type: ignore[assignment]


def add_hook(sam: Sam) -> None:
    sam.prompt_encoder.register_forward_hook(lambda *_: None)


def change_activation(sam: Sam) -> None:
    sam.mask_decoder.output_upscaling[1] = nn.Identity()


def add_module(sam: Sam) -> None:
    sam.mask_decoder.extra = nn.Linear(2, 2)


def add_parameter(sam: Sam) -> None:
    sam.mask_decoder.iou_token.register_parameter("scale", nn.Parameter(torch.ones(1)))


def override_forward(sam: Sam) -> None:
    decoder: Any = sam.mask_decoder
    decoder.forward = lambda *_: None


def test_segment_anythings_decoder_is_supported_whatever_its_weights() -> None:
    sam = build_demo_sam()
    with torch.no_grad():
        for parameter in sam.mask_decoder.parameters():
            parameter.add_(1.0)
    assert unsupported_decoder_reason(sam) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace_decoder, "OtherDecoder is not .*MaskDecoder"),
        (add_hook, "PromptEncoder.* has hooks"),
        (change_activation, "output_upscaling.1 is not as segment_anything builds it"),
        (add_module, "is not as segment_anything builds it"),
        (add_parameter, "iou_token is not as segment_anything builds it"),
        (override_forward, "has hooks or a forward of its own"),
    ],
)
def test_any_difference_is_named(change: Callable[[Sam], None], reason: str) -> None:
    sam = build_demo_sam()
    change(sam)
    found = unsupported_decoder_reason(sam)
    assert found is not None
    assert re.search(reason, found), found


def test_a_plain_module_has_no_hooks() -> None:
    module = nn.Linear(1, 1)
    assert not is_hooked(module)
    handle = module.register_forward_pre_hook(lambda *_: None)
    assert is_hooked(module)
    handle.remove()
    assert not is_hooked(module)
