"""The rearranged two-way transformer equals segment_anything's, for prompts that share an image."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer
from torch import Tensor, nn

from pipeline.teacher.generator.folded_transformer import FoldedTransformer

PROMPTS, TOKENS, CHANNELS, SIDE = 3, 7, 32, 4


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("heads", [1, 4], ids=["folded", "direct"])
def test_tokens_and_cells_are_those_of_the_stock_transformer(depth: int, heads: int) -> None:
    torch.manual_seed(depth)
    stock = TwoWayTransformer(depth=depth, embedding_dim=CHANNELS, num_heads=heads, mlp_dim=16).eval()
    for parameter in stock.parameters():
        nn.init.normal_(parameter, std=0.3)
    image, position = noise(1, CHANNELS, SIDE, SIDE, seed=1), noise(1, CHANNELS, SIDE, SIDE, seed=2)
    tokens_BTC = noise(PROMPTS, TOKENS, CHANNELS, seed=3)
    ours = FoldedTransformer(stock, torch.float32)
    with torch.no_grad():
        expected = stock(*(x.expand(PROMPTS, -1, -1, -1) for x in (image, position)), tokens_BTC)
        prepared = ours.prepare(*(x.flatten(2).transpose(1, 2) for x in (image, position)))
        found = ours(tokens_BTC, prepared)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
