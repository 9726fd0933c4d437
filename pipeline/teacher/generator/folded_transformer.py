"""SAM's two-way transformer for many prompts on one image: the first layer's image side is computed once.

Legend: B prompts of a chunk, T tokens of a prompt, N cells of the image, C channels, A heads, d channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor

from pipeline.teacher.generator.folding import ChannelNorm, ImageToTokenAttention, TokenToImageAttention


@dataclass(frozen=True)
class FoldedImage:
    """Cells of one image, and their projections in the first layer, where they do not depend on the prompt yet."""

    cells_1NC: Tensor
    position_1NC: Tensor
    keys_1ANd: Tensor
    values_1ANd: Tensor
    queries_1ANd: Tensor


class FoldedTransformer:
    """`TwoWayTransformer` of at least one layer, its products rearranged."""

    def __init__(self, transformer: TwoWayTransformer, precision: torch.dtype) -> None:
        layers = cast(list[TwoWayAttentionBlock], list(transformer.layers))
        self._layers = [_FoldedLayer(layer, precision) for layer in layers]
        self._final = TokenToImageAttention(transformer.final_attn_token_to_image, precision)
        self._norm = transformer.norm_final_attn

    def prepare(self, cells_1NC: Tensor, position_1NC: Tensor) -> FoldedImage:
        """What all prompts of an image share, from its cells and their positions."""
        positioned = cells_1NC + position_1NC
        first = self._layers[0]
        keys, values = first.tokens_to_image.project(cells_1NC, positioned)
        queries = first.image_to_tokens.project(positioned)
        shared = (keys.contiguous(), values.contiguous(), queries.contiguous())
        return FoldedImage(cells_1NC, position_1NC, *shared)

    def __call__(self, prompt_BTC: Tensor, image: FoldedImage) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, C] and cells [B, N, C] after all layers."""
        first, *others = self._layers
        tokens, cells = first.first(prompt_BTC, image)
        for layer in others:
            tokens, cells = layer(tokens, cells, cells + image.position_1NC, prompt_BTC)
        attended = self._final(tokens + prompt_BTC, cells, cells + image.position_1NC)
        return self._norm(tokens + attended), cells


class _FoldedLayer:
    def __init__(self, layer: TwoWayAttentionBlock, precision: torch.dtype) -> None:
        self._layer = layer
        self._norm = ChannelNorm(layer.norm4, precision)
        self.tokens_to_image = TokenToImageAttention(layer.cross_attn_token_to_image, precision)
        self.image_to_tokens = ImageToTokenAttention(layer.cross_attn_image_to_token, precision)

    def first(self, prompt_BTC: Tensor, image: FoldedImage) -> tuple[Tensor, Tensor]:
        """The first layer: its tokens are the prompt, its cells those of the image for every prompt."""
        tokens = self._self_attention(prompt_BTC, prompt_BTC)
        attended = self.tokens_to_image.attend(tokens + prompt_BTC, image.keys_1ANd, image.values_1ANd)
        tokens = self._add_and_mlp(tokens, attended)
        cells = self.image_to_tokens.attend(image.queries_1ANd, image.cells_1NC, tokens + prompt_BTC, tokens)
        return tokens, self._norm(cells)

    def __call__(
        self, tokens_BTC: Tensor, cells_BNC: Tensor, positioned_BNC: Tensor, prompt_BTC: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = self._self_attention(tokens_BTC, prompt_BTC)
        tokens = self._add_and_mlp(tokens, self.tokens_to_image(tokens + prompt_BTC, cells_BNC, positioned_BNC))
        cells = self.image_to_tokens(cells_BNC, positioned_BNC, tokens + prompt_BTC, tokens)
        return tokens, self._norm(cells)

    def _self_attention(self, tokens_BTC: Tensor, prompt_BTC: Tensor) -> Tensor:
        layer = self._layer
        if layer.skip_first_layer_pe:
            return layer.norm1(layer.self_attn(tokens_BTC, tokens_BTC, tokens_BTC))
        positioned = tokens_BTC + prompt_BTC
        return layer.norm1(tokens_BTC + layer.self_attn(positioned, positioned, tokens_BTC))

    def _add_and_mlp(self, tokens_BTC: Tensor, attended_BTC: Tensor) -> Tensor:
        tokens = self._layer.norm2(tokens_BTC + attended_BTC)
        return self._layer.norm3(tokens + self._layer.mlp(tokens))
