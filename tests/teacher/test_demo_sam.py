"""The demo SAM: segment_anything's modules at a small size, with a stem of convolutions."""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam

from pipeline.teacher.demo_sam import CHANNELS, PATCH, SIZE, WIDTH, ConvolutionalStem, build_demo_sam
from pipeline.teacher.generator.architecture import unsupported_decoder_reason
from pipeline.teacher.generator.encoder import unsupported_encoder_reason


def test_the_stem_gives_a_cell_per_patch_with_channels_last() -> None:
    cells = ConvolutionalStem()(torch.zeros(2, 3, 64, 32))
    assert cells.shape == (2, 64 // PATCH, 32 // PATCH, WIDTH)


def test_it_is_a_sam_whose_networks_run_the_fast_way() -> None:
    sam = build_demo_sam()
    assert isinstance(sam, Sam) and not sam.training
    assert unsupported_decoder_reason(sam) is None
    assert unsupported_encoder_reason(sam.image_encoder) is None


@torch.no_grad()
def test_an_image_becomes_an_embedding_of_16_by_16_cells() -> None:
    embedding = build_demo_sam().image_encoder(torch.zeros(1, 3, SIZE, SIZE))
    assert embedding.shape == (1, CHANNELS, SIZE // PATCH, SIZE // PATCH)
