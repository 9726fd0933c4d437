"""The matrix products of SAM's mask decoder that involve the image, rearranged to make many prompts per image cheap.

Three identities are used; all are exact, only the order of summation changes.

*Folding.* The tokens of a prompt are few (7, of a thing 9), the cells of the image many (4096). Instead of projecting
the cells for each prompt, the tokens are projected: q . (W x) = (W' q) . x, head by head. That is cheaper while tokens
x heads are fewer than the channels inside the attention (56 and 72 < 128 for SAM); otherwise the plain product is kept.

*Biases.* Attention weights sum to one, so the bias of the values passes through unchanged, and the bias of the keys
shifts all scores of a query equally, which does not change the softmax.

*Transposed convolution.* With stride = kernel it is one matrix product per cell; the order of its pixels matters only
in the final maps, so only these are shuffled.

Tokens are always float32; cells have the given precision.

Legend: B prompts of a chunk, T tokens of a prompt, N cells of the image, C channels, A heads, D channels inside an
attention, d = D / A, R = A T folded rows, K maps of P pixels.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn


class TokenToImageAttention:
    """Attention of a prompt's tokens to the image's cells."""

    def __init__(self, attention: Attention, precision: torch.dtype) -> None:
        self._attention = attention
        self._precision = precision
        self._key_AdC = _by_head(attention, attention.k_proj.weight)
        self._value_ACd = _by_head(attention, attention.v_proj.weight).transpose(1, 2)
        self._key = _Projection(attention.k_proj, precision)
        self._value = _Projection(attention.v_proj, precision)

    def project(self, cells_BNC: Tensor, positioned_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, A, N, d] of the cells, for `attend`."""
        heads = self._attention.num_heads
        return _split_heads(self._key(positioned_BNC), heads), _split_heads(self._value(cells_BNC), heads)

    def attend(self, tokens_BTC: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention [B, T, C] to projected cells [B or 1, A, N, d]; a shared image takes a single product."""
        queries = self._attention.q_proj(tokens_BTC).to(self._precision)
        if len(keys) == 1:
            queries = queries.flatten(0, 1)[None]
        attended = F.scaled_dot_product_attention(_split_heads(queries, self._attention.num_heads), keys, values)
        return self._attention.out_proj(_merge_heads(attended).float()).view_as(tokens_BTC)

    def __call__(self, tokens_BTC: Tensor, cells_BNC: Tensor, positioned_BNC: Tensor) -> Tensor:
        """Attention [B, T, C] to every prompt's own cells, given with and without their positions."""
        if not folding_saves(self._attention, tokens_BTC.shape[1]):
            return self.attend(tokens_BTC, *self.project(cells_BNC, positioned_BNC))
        queries_BATd = _split_heads(self._attention.q_proj(tokens_BTC), self._attention.num_heads)
        scale = queries_BATd.shape[-1] ** -0.5
        rows_BRC = (queries_BATd * scale @ self._key_AdC).flatten(1, 2).to(self._precision)
        attended_BRC = _attend_rows(rows_BRC, positioned_BNC, cells_BNC).float()
        values_BATd = attended_BRC.unflatten(1, queries_BATd.shape[1:3]) @ self._value_ACd
        return self._attention.out_proj(_merge_heads(values_BATd) + self._attention.v_proj.bias)


class ImageToTokenAttention:
    """Attention of the image's cells to a prompt's tokens, the residual included."""

    def __init__(self, attention: Attention, precision: torch.dtype) -> None:
        self._attention = attention
        self._precision = precision
        self._query_AdC = _by_head(attention, attention.q_proj.weight)
        self._query_bias_Ad1 = attention.q_proj.bias.detach().view(attention.num_heads, -1, 1)
        self._out_AdC = _by_head(attention, attention.out_proj.weight.T)
        self._query = _Projection(attention.q_proj, precision)
        self._out = _Projection(attention.out_proj, precision)

    def project(self, positioned_BNC: Tensor) -> Tensor:
        """Queries [B, A, N, d] of the cells, for `attend`."""
        return _split_heads(self._query(positioned_BNC), self._attention.num_heads)

    def attend(self, queries: Tensor, cells: Tensor, key_tokens_BTC: Tensor, value_tokens_BTC: Tensor) -> Tensor:
        """Cells [B, N, C] after attending with the projected queries [B or 1, A, N, d] of cells [B or 1, N, C]."""
        keys_BATd, values_BATd = self._keys_and_values(key_tokens_BTC, value_tokens_BTC)
        keys = (_centred(keys_BATd) * queries.shape[-1] ** -0.5).to(self._precision)
        if folding_saves(self._attention, key_tokens_BTC.shape[1]):
            return self._blend(_scores(keys, queries), cells, values_BATd)
        weights_BANT = _scores(keys, queries).softmax(2).transpose(2, 3)
        return cells + self._out(_merge_heads(weights_BANT @ values_BATd.to(self._precision)))

    def __call__(
        self, cells_BNC: Tensor, positioned_BNC: Tensor, key_tokens_BTC: Tensor, value_tokens_BTC: Tensor
    ) -> Tensor:
        """Cells [B, N, C] after attending; `positioned_BNC` are cells plus their positions."""
        if not folding_saves(self._attention, key_tokens_BTC.shape[1]):
            return self.attend(self.project(positioned_BNC), cells_BNC, key_tokens_BTC, value_tokens_BTC)
        keys_BATd, values_BATd = self._keys_and_values(key_tokens_BTC, value_tokens_BTC)
        keys_BATd = _centred(keys_BATd) * keys_BATd.shape[-1] ** -0.5
        rows_BRC = (keys_BATd @ self._query_AdC).flatten(1, 2).to(self._precision)
        shift_BR1 = (keys_BATd @ self._query_bias_Ad1).flatten(1, 2).to(self._precision)
        scores_BRN = torch.baddbmm(shift_BR1, rows_BRC, positioned_BNC.transpose(1, 2))
        return self._blend(scores_BRN.unflatten(1, keys_BATd.shape[1:3]), cells_BNC, values_BATd)

    def _keys_and_values(self, key_tokens_BTC: Tensor, value_tokens_BTC: Tensor) -> tuple[Tensor, Tensor]:
        attention = self._attention
        return (
            _split_heads(attention.k_proj(key_tokens_BTC), attention.num_heads),
            _split_heads(attention.v_proj(value_tokens_BTC), attention.num_heads),
        )

    def _blend(self, scores_BATN: Tensor, cells: Tensor, values_BATd: Tensor) -> Tensor:
        """Residual + softmax over the tokens x values, the output projection folded onto the values."""
        heads = scores_BATN.shape[1]  # every head's weights sum to one, so each adds its share of the bias
        rows_BRC = (values_BATd @ self._out_AdC + self._attention.out_proj.bias / heads).flatten(1, 2)
        weights_BNR = scores_BATN.softmax(2).flatten(1, 2).transpose(1, 2)
        return torch.baddbmm(cells, weights_BNR, rows_BRC.to(self._precision))


class Upscaling:
    """`MaskDecoder.output_upscaling`: two transposed convolutions as matrix products, cell by cell."""

    def __init__(self, layers: nn.Sequential, precision: torch.dtype) -> None:
        first, norm, self._first_activation, second, self._second_activation = layers
        self._first = _as_matrix_product(cast(nn.ConvTranspose2d, first), precision)
        self._second = _as_matrix_product(cast(nn.ConvTranspose2d, second), precision)
        self._norm = ChannelNorm(cast(LayerNorm2d, norm), precision)

    def __call__(self, cells_BNC: Tensor) -> Tensor:
        """Pixels [B, 16 N, C / 8]: of each cell its four quarters, of each quarter its four pixels."""
        B, _, C = cells_BNC.shape
        quarters = _apply(self._first, cells_BNC.reshape(-1, C)).view(-1, C // 4)
        pixels = _apply(self._second, self._first_activation(self._norm(quarters)))
        return self._second_activation(pixels).view(B, -1, C // 8)


class ChannelNorm:
    """LayerNorm over the last axis, in the precision of the cells."""

    def __init__(self, norm: nn.LayerNorm | LayerNorm2d, precision: torch.dtype) -> None:
        self._weight = norm.weight.detach().to(precision)
        self._bias = norm.bias.detach().to(precision)
        self._eps = norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        """Same shape as x; statistics are summed in float32 in any precision."""
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias, self._eps)


def shuffle_pixels(maps_KP: Tensor, height: int, width: int) -> Tensor:
    """Maps [K, 4 height, 4 width] from the pixels that `Upscaling` orders cell by cell."""
    nested = maps_KP.view(-1, height, width, 2, 2, 2, 2)  # cell, quarter and pixel, each as row and column
    return nested.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, 4 * height, 4 * width)


class _Projection:
    """A linear layer of the image side, in the precision of the cells."""

    def __init__(self, linear: nn.Linear, precision: torch.dtype) -> None:
        self._weight = linear.weight.detach().to(precision)
        self._bias = linear.bias.detach().to(precision)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)


def _attend_rows(rows_BRC: Tensor, positioned_BNC: Tensor, cells_BNC: Tensor) -> Tensor:
    """Softmax(rows . positioned cells) . cells, shape [B, R, C]."""
    return F.scaled_dot_product_attention(rows_BRC[:, None], positioned_BNC[:, None], cells_BNC[:, None], scale=1.0)[
        :, 0
    ]


def folding_saves(attention: Attention, tokens: int) -> bool:
    """Whether the tokens of a prompt, this many, are projected; otherwise the plain product is kept."""
    return tokens * attention.num_heads <= attention.internal_dim


def _by_head(attention: Attention, weight_DC: Tensor) -> Tensor:
    return weight_DC.detach().unflatten(0, (attention.num_heads, -1)).contiguous()


def _split_heads(x_BTD: Tensor, heads: int) -> Tensor:
    return x_BTD.unflatten(2, (heads, -1)).transpose(1, 2)


def _merge_heads(x_BATd: Tensor) -> Tensor:
    return x_BATd.transpose(1, 2).flatten(2)


def _centred(keys_BATd: Tensor) -> Tensor:
    """Keys less their mean over the tokens: the softmax over tokens is the same, but scores near 0 keep more bits."""
    return keys_BATd - keys_BATd.mean(2, keepdim=True)


def _scores(keys_BATd: Tensor, queries: Tensor) -> Tensor:
    """Scores [B, A, T, N] of queries [B or 1, A, N, d]; shared queries take a single product with the keys of all
    prompts."""
    if len(queries) != 1:
        return keys_BATd @ queries.transpose(2, 3)
    scores_AXN = keys_BATd.transpose(0, 1).flatten(1, 2) @ queries[0].transpose(1, 2)  # X = B T
    return scores_AXN.unflatten(1, (keys_BATd.shape[0], keys_BATd.shape[2])).transpose(0, 1)


def _as_matrix_product(convolution: nn.ConvTranspose2d, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight [C, 4 c] and bias [4 c] of a transposed convolution with kernel and stride 2, as a product per cell."""
    weight = convolution.weight.detach().permute(0, 2, 3, 1).flatten(1)
    bias = cast(Tensor, convolution.bias).detach().repeat(4)
    return weight.to(precision).contiguous(), bias.to(precision)


def _apply(weight_and_bias: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    weight, bias = weight_and_bias
    return torch.addmm(bias, x, weight)
