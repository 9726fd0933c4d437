"""What the tests of the teacher share."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import Sam

from pipeline.teacher.demo_sam import build_demo_sam


@pytest.fixture(scope="module")
def sam() -> Sam:
    """The demo's SAM with random weights in decoder and prompt encoder: its own masks are too alike to tell apart."""
    torch.manual_seed(0)
    sam = build_demo_sam().eval()
    for parameter in [*sam.mask_decoder.parameters(), *sam.prompt_encoder.parameters()]:
        torch.nn.init.normal_(parameter, std=0.2)
    return sam.requires_grad_(False)
