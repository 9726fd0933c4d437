"""The rearranged products against segment_anything's own modules, one at a time."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn

from pipeline.teacher.generator.folding import (
    ChannelNorm,
    ImageToTokenAttention,
    TokenToImageAttention,
    Upscaling,
    folding_saves,
    shuffle_pixels,
)

PROMPTS, CELLS, CHANNELS = 3, 20, 32
FOLDED, DIRECT = 4, 9
"""Tokens of a prompt: with two heads and 16 channels inside, up to 8 are worth folding."""
tokens = pytest.mark.parametrize("count", [FOLDED, DIRECT], ids=["folded", "direct"])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def attention() -> Attention:
    """Two heads; biases as large as weights, so that a forgotten one shows."""
    torch.manual_seed(1)
    module = Attention(CHANNELS, num_heads=2, downsample_rate=2)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.eval().requires_grad_(False)


def assert_close(ours: Tensor, stock: Tensor) -> None:
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


@tokens
def test_tokens_attend_to_the_cells_of_their_own_prompt(attention: Attention, count: int) -> None:
    tokens_BTC, cells_BNC = noise(PROMPTS, count, CHANNELS), noise(PROMPTS, CELLS, CHANNELS, seed=1)
    placed_BNC = cells_BNC + noise(1, CELLS, CHANNELS, seed=2)
    layer = TokenToImageAttention(attention, torch.float32)
    ours = layer(tokens_BTC, cells_BNC, placed_BNC)
    assert folding_saves(attention, count) == (count == FOLDED)
    assert_close(ours, attention(q=tokens_BTC, k=placed_BNC, v=cells_BNC))


@tokens
def test_tokens_of_all_prompts_attend_to_one_image(attention: Attention, count: int) -> None:
    tokens_BTC, cells_1NC = noise(PROMPTS, count, CHANNELS), noise(1, CELLS, CHANNELS, seed=1)
    placed_1NC = cells_1NC + noise(1, CELLS, CHANNELS, seed=2)
    layer = TokenToImageAttention(attention, torch.float32)
    ours = layer.attend(tokens_BTC, *layer.project(cells_1NC, placed_1NC))
    every = (PROMPTS, -1, -1)
    assert_close(ours, attention(q=tokens_BTC, k=placed_1NC.expand(*every), v=cells_1NC.expand(*every)))


@tokens
def test_cells_attend_to_the_tokens_of_their_prompt_and_keep_what_they_were(attention: Attention, count: int) -> None:
    cells_BNC, values_BTC = noise(PROMPTS, CELLS, CHANNELS), noise(PROMPTS, count, CHANNELS, seed=1)
    placed_BNC, keys_BTC = cells_BNC + noise(1, CELLS, CHANNELS, seed=2), values_BTC + noise(1, count, CHANNELS, seed=3)
    layer = ImageToTokenAttention(attention, torch.float32)
    ours = layer(cells_BNC, placed_BNC, keys_BTC, values_BTC)
    assert folding_saves(attention, count) == (count == FOLDED)
    assert_close(ours, cells_BNC + attention(q=placed_BNC, k=keys_BTC, v=values_BTC))


@tokens
def test_cells_of_one_image_attend_to_the_tokens_of_every_prompt(attention: Attention, count: int) -> None:
    cells_1NC, values_BTC = noise(1, CELLS, CHANNELS), noise(PROMPTS, count, CHANNELS, seed=1)
    placed_1NC, keys_BTC = cells_1NC + noise(1, CELLS, CHANNELS, seed=2), values_BTC + noise(1, count, CHANNELS, seed=3)
    layer = ImageToTokenAttention(attention, torch.float32)
    cells_BNC = cells_1NC.expand(PROMPTS, -1, -1)
    ours = layer.attend(layer.project(placed_1NC), cells_BNC, keys_BTC, values_BTC)
    assert_close(ours, cells_BNC + attention(q=placed_1NC.expand_as(cells_BNC), k=keys_BTC, v=values_BTC))


@tokens
def test_in_bfloat16_answers_stay_near_and_tokens_stay_float32(attention: Attention, count: int) -> None:
    tokens_BTC, cells_BNC = noise(PROMPTS, count, CHANNELS), noise(PROMPTS, CELLS, CHANNELS, seed=1)
    rounded_BNC = cells_BNC.bfloat16()
    ours = TokenToImageAttention(attention, torch.bfloat16)(tokens_BTC, rounded_BNC, rounded_BNC)
    stock = attention(q=tokens_BTC, k=cells_BNC, v=cells_BNC)
    assert ours.dtype == torch.float32
    assert 1e-5 < float((ours - stock).norm() / stock.norm()) < 0.03


def test_upscaled_cells_are_the_pixels_of_the_transposed_convolutions() -> None:
    torch.manual_seed(2)
    layers = nn.Sequential(
        nn.ConvTranspose2d(CHANNELS, CHANNELS // 4, 2, stride=2),
        LayerNorm2d(CHANNELS // 4),
        nn.GELU(),
        nn.ConvTranspose2d(CHANNELS // 4, CHANNELS // 8, 2, stride=2),
        nn.GELU(),
    ).requires_grad_(False)
    image_BChw = noise(2, CHANNELS, 3, 5)
    pixels_BPc = Upscaling(layers, torch.float32)(image_BChw.flatten(2).transpose(1, 2))
    maps = shuffle_pixels(pixels_BPc.transpose(1, 2).flatten(0, 1), 3, 5)
    assert_close(maps.view(2, CHANNELS // 8, 12, 20), layers(image_BChw))


def test_both_classes_of_norms_are_one_over_the_channels() -> None:
    x_BNC = 5 + 3 * noise(2, 6, CHANNELS)
    plain, flat = nn.LayerNorm(CHANNELS, eps=0.1), LayerNorm2d(CHANNELS, eps=0.1)
    for norm in (plain, flat):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    with torch.no_grad():
        assert_close(ChannelNorm(plain, torch.float32)(x_BNC), plain(x_BNC))
        stock = flat(x_BNC.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        assert_close(ChannelNorm(flat, torch.float32)(x_BNC), stock)
