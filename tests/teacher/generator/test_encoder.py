"""The fast encoder against segment_anything's `ImageEncoderViT`."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator import encoder as encoder_module
from pipeline.teacher.generator.encoder import FastEncoder
from pipeline.teacher.sam import load_sam

# name: grid of patches per side, window (0 sees all), blocks that see all, relative and absolute positions
SIZES = {
    "windows with padding": (7, 3, (1,), True, True),
    "windows that fit": (6, 3, (1,), True, True),
    "global only": (5, 0, (), True, True),
    "windows only": (5, 4, (), True, False),
    "no relative positions": (6, 4, (1,), False, True),
}


def _random_encoder(name: str) -> ImageEncoderViT:
    grid, window, seeing_all, relative, absolute = SIZES[name]
    torch.manual_seed(1)
    encoder = ImageEncoderViT(
        img_size=grid * 4,
        patch_size=4,
        embed_dim=24,
        depth=3,
        num_heads=2,
        out_chans=8,
        use_abs_pos=absolute,
        use_rel_pos=relative,
        window_size=window,
        global_attn_indexes=seeing_all,
    )
    for parameter in encoder.parameters():  # SAM's positions and biases start at zero, which would hide them
        nn.init.normal_(parameter, std=0.4 if parameter.ndim < 3 else 0.2)
    return encoder.eval()


def _images(encoder: nn.Module, count: int = 1) -> Tensor:
    size = int(cast(ImageEncoderViT, encoder).img_size)
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def _relative_error(ours: Tensor, reference: Tensor) -> float:
    return float((ours.double() - reference.double()).norm() / reference.double().norm())


@pytest.fixture(scope="module", params=["demo", *SIZES])
def any_encoder(request: pytest.FixtureRequest) -> ImageEncoderViT:
    if request.param == "demo":
        return load_sam(SamConfig(), torch.device("cpu")).image_encoder
    return _random_encoder(request.param)


@torch.no_grad()
def test_embeddings_are_the_stock_ones_in_float32(any_encoder: ImageEncoderViT) -> None:
    images = _images(any_encoder)
    fast = FastEncoder(any_encoder)
    assert fast.fallback_reason is None
    assert _relative_error(fast(images), any_encoder(images)) < 1e-5


@torch.no_grad()
def test_bfloat16_stays_within_three_percent_and_answers_in_float32(any_encoder: ImageEncoderViT) -> None:
    images = _images(any_encoder)
    ours = FastEncoder(any_encoder, torch.bfloat16)(images)
    assert ours.dtype == torch.float32
    assert _relative_error(ours, any_encoder(images)) < 3e-2


@torch.no_grad()
def test_positions_inside_the_product_are_exact_in_float32() -> None:
    attention = cast(Block, _random_encoder("global only").blocks[0]).attn
    x_BHWC = torch.randn(2, 5, 5, 24, generator=torch.Generator().manual_seed(3))
    for fold in (True, False):
        assert _relative_error(encoder_module.fused_attention(attention, x_BHWC, fold), attention(x_BHWC)) < 1e-5


@torch.no_grad()
def test_relative_positions_matter_in_these_tests() -> None:
    encoder = _random_encoder("windows with padding")
    images = _images(encoder)
    with_positions = FastEncoder(encoder)(images)
    for name, parameter in encoder.named_parameters():
        if "rel_pos" in name:
            parameter.zero_()
    assert _relative_error(FastEncoder(encoder)(images), with_positions) > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("numbers", [1, 300, 1 << 20])
def test_the_bias_may_be_made_in_pieces(numbers: int) -> None:
    encoder = _random_encoder("windows with padding")
    images = _images(encoder)
    assert _relative_error(FastEncoder(encoder, max_bias_numbers=numbers)(images), encoder(images)) < 1e-5


@torch.no_grad()
def test_several_images_are_embedded_in_order() -> None:
    encoder = _random_encoder("windows with padding")
    images = _images(encoder, 3)
    assert _relative_error(FastEncoder(encoder)(images), encoder(images)) < 1e-5


@torch.no_grad()
def test_the_model_is_left_as_it_was() -> None:
    encoder = _random_encoder("windows with padding")
    images = _images(encoder)
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    embedding = encoder(images)
    for precision in (torch.float32, torch.bfloat16):
        FastEncoder(encoder, precision)(images)
    assert torch.equal(encoder(images), embedding)
    for name, value in encoder.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, weights[name])


@torch.no_grad()
def test_other_patch_and_neck_modules_are_called_as_they_are() -> None:
    encoder = _random_encoder("windows with padding")
    encoder.neck = nn.Sequential(encoder.neck, nn.Tanh())
    fast = FastEncoder(encoder)
    assert fast.fallback_reason is None
    assert _relative_error(fast(_images(encoder)), encoder(_images(encoder))) < 1e-5


class _OtherBlock(Block):
    """A block with something of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class _OtherEncoder(ImageEncoderViT):
    """An encoder with something of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def _doubled(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output * 2


@torch.no_grad()
@pytest.mark.parametrize("where", ["encoder", "block", "forward", "hook"])
def test_what_is_not_quite_sams_encoder_is_called_as_it_is(where: str) -> None:
    encoder = _random_encoder("windows with padding")
    attention = cast(Block, encoder.blocks[1]).attn
    if where == "encoder":
        encoder.__class__ = _OtherEncoder
    elif where == "block":
        encoder.blocks[1].__class__ = _OtherBlock
    elif where == "forward":
        attention.forward = lambda x: x * 0.5
    else:
        attention.register_forward_hook(_doubled)
    fast = FastEncoder(encoder, torch.bfloat16)
    assert {"encoder": "_OtherEncoder is not", "block": "_OtherBlock is not"}.get(where, "hooks") in str(
        fast.fallback_reason
    )
    assert torch.equal(fast(_images(encoder)), encoder(_images(encoder)))
