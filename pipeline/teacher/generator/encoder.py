"""SAM's image encoder with fused attention: its decomposed relative positions without the matrix of all scores.

SAM adds to each score q.k two terms that depend on the query and on the key's row or column (`add_decomposed_rel_pos`).
Either they are passed to the fused attention as a bias (windows, and float32), or they become part of the product: with
q' = [s q, q.R_rows, q.R_columns] and k' = [k, onehot(row), onehot(column)], q'.k' is the score itself. On a CPU the
second is faster in bfloat16 where a block sees the whole image (measured). The model's modules are called, not changed.

Legend: B images or windows, H W grid of patches (rows, columns), T = H W, A heads, d channels of a head, C = A d
channels, S side of the image in pixels, c h w the embedding.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, Block, get_rel_pos, window_partition, window_unpartition
from torch import Tensor, nn

from pipeline.teacher.generator.architecture import full_name, is_hooked
from pipeline.teacher.generator.quick_tiny_vit import quick_tiny_vit
from pipeline.teacher.mobile_sam import TinyVitEncoder

MAX_BIAS_NUMBERS = 1 << 24
"""Numbers of a bias held at once on a CPU: 64 MiB in float32, where all of ViT-B's would be 768 MiB."""


class FastEncoder:
    """An image encoder with fused attention; the given one is not changed.

    In float32 the encoder's own blocks are called, in another precision a copy that is made now. A rearranged copy of
    MobileSAM's is called, with mixed precision. Any other encoder is called unchanged; precision and bias are ignored.

    Args:
        encoder: on its device.
        precision: of its blocks; float32 or bfloat16.
        max_bias_numbers: numbers of an attention's bias that are held at once; memory depends on it, results do not.
    """

    def __init__(
        self, encoder: nn.Module, precision: torch.dtype = torch.float32, max_bias_numbers: int = MAX_BIAS_NUMBERS
    ) -> None:
        self._is_mobile = isinstance(encoder, TinyVitEncoder)
        reason = unsupported_encoder_reason(encoder)
        self.fallback_reason = None if self._is_mobile else reason
        """Why the encoder is slower than it could be; None where it runs with fused attention, or has no slower one."""
        self.max_bias_numbers = max_bias_numbers
        """Numbers of an attention's bias that are held at once."""
        self._encoder = quick_tiny_vit(encoder, precision) if isinstance(encoder, TinyVitEncoder) else encoder
        self._precision = precision
        self._has_own_blocks = reason is None
        if self._has_own_blocks:
            self._blocks = _cast_blocks(cast(ImageEncoderViT, encoder), precision)

    @torch.no_grad()
    def __call__(self, images_B3SS: Tensor) -> Tensor:
        """Embeddings [B, c, h, w], float32, of images that `Sam.preprocess` normalised and padded.

        Raises:
            TypeError: the encoder, called unchanged, returns no tensor.
        """
        embed = self._run_blocks if self._has_own_blocks else self._call_unchanged
        if images_B3SS.device.type == "cpu":  # a batch gains nothing there and costs memory
            return torch.cat([embed(image).float() for image in images_B3SS.split(1)])
        return embed(images_B3SS).float()

    def _call_unchanged(self, images_B3SS: Tensor) -> Tensor:
        is_mixed = self._is_mobile and self._precision != torch.float32
        with torch.autocast(images_B3SS.device.type, self._precision, enabled=is_mixed):
            embedding = self._encoder(images_B3SS)
        if not isinstance(embedding, Tensor):  # HQ-SAM's gives a pair
            raise TypeError(f"{full_name(type(self._encoder))} returned a {type(embedding).__name__}, not a tensor: "
                            "wrap it in a module that returns the embedding [B, c, h, w] alone")  # fmt: skip
        return embedding

    def _run_blocks(self, images_B3SS: Tensor) -> Tensor:
        """`ImageEncoderViT.forward`; the first and last modules stay in their own precision: they cost little."""
        encoder = cast(ImageEncoderViT, self._encoder)
        patches = encoder.patch_embed(images_B3SS)
        if encoder.pos_embed is not None:
            patches = patches + encoder.pos_embed
        inside = patches.to(self._precision)
        for block in self._blocks:
            inside = _run_block(block, inside, self.max_bias_numbers)
        return encoder.neck(inside.to(patches.dtype).permute(0, 3, 1, 2))


def unsupported_encoder_reason(encoder: nn.Module) -> str | None:
    """Why the blocks of an encoder cannot run with fused attention; None where they can."""
    if type(encoder) is not ImageEncoderViT:
        return f"{full_name(type(encoder))} is not {full_name(ImageEncoderViT)}"
    modules: list[tuple[nn.Module, type[nn.Module]]] = [(encoder, ImageEncoderViT)]
    for block in encoder.blocks:
        modules += [(block, Block), (cast(nn.Module, getattr(block, "attn", block)), Attention)]
    for module, expected in modules:
        if type(module) is not expected:
            return f"{full_name(type(module))} is not {full_name(expected)}"
        if is_hooked(module):
            return f"{full_name(expected)} has hooks or a forward of its own"
    return None


def _cast_blocks(encoder: ImageEncoderViT, precision: torch.dtype) -> list[Block]:
    if all(parameter.dtype == precision for parameter in encoder.blocks.parameters()):
        return cast(list[Block], list(encoder.blocks))
    return cast(list[Block], list(copy.deepcopy(encoder.blocks).to(precision)))


def _run_block(block: Block, x_BHWC: Tensor, max_bias_numbers: int) -> Tensor:
    x = block.norm1(x_BHWC)
    if block.window_size > 0:
        windows, padded = window_partition(x, block.window_size)
        windows = fused_attention(block.attn, windows, False, max_bias_numbers)
        x = window_unpartition(windows, block.window_size, padded, (x.shape[1], x.shape[2]))
    else:
        x = fused_attention(block.attn, x, x.dtype != torch.float32, max_bias_numbers)
    x = x_BHWC + x
    return x + block.mlp(block.norm2(x))


def fused_attention(
    attention: Attention, x_BHWC: Tensor, positions_in_product: bool, max_bias_numbers: int = MAX_BIAS_NUMBERS
) -> Tensor:
    """`Attention.forward`, shape [B, H, W, C]; positions are part of the product, or else a bias."""
    B, H, W, _ = x_BHWC.shape
    q, k, v = attention.qkv(x_BHWC).reshape(B, H * W, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    if not attention.use_rel_pos:
        out = F.scaled_dot_product_attention(q, k, v, scale=attention.scale)
    else:
        by_row, by_column = _position_terms(attention, q, H, W)
        if positions_in_product:
            out = _attend_folded(q, k, v, by_row, by_column, attention.scale)
        else:
            out = _attend_biased(q, k, v, by_row, by_column, attention.scale, max_bias_numbers)
    return attention.proj(out.transpose(1, 2).reshape(B, H, W, -1))


def _position_terms(attention: Attention, q_BATd: Tensor, H: int, W: int) -> tuple[Tensor, Tensor]:
    """What each query adds to its score with every row [B, A, T, H] and every column [B, A, T, W]."""
    with q_BATd.device:  # indices are made there: each block would wait for those of the host
        rows_HHd = get_rel_pos(H, H, attention.rel_pos_h).to(q_BATd)
        columns_WWd = get_rel_pos(W, W, attention.rel_pos_w).to(q_BATd)
    grid = q_BATd.unflatten(2, (H, W))
    by_row = torch.einsum("bahwd,hkd->bahwk", grid, rows_HHd)
    by_column = torch.einsum("bahwd,wkd->bahwk", grid, columns_WWd)
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _attend_biased(
    q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float, max_bias_numbers: int
) -> Tensor:
    """Fused attention [B, A, T, d] with the two terms as bias, for as many queries at a time as its limit allows."""
    B, A, T, _ = q.shape
    queries = max(1, max_bias_numbers // (B * A * T))
    parts: list[Tensor] = []
    for q_part, rows, columns in zip(*(x.split(queries, 2) for x in (q, by_row, by_column)), strict=True):
        bias = (rows[..., :, None] + columns[..., None, :]).flatten(3)
        parts.append(F.scaled_dot_product_attention(q_part, k, v, attn_mask=bias, scale=scale))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 2)


def _attend_folded(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor, scale: float) -> Tensor:
    """Fused attention [B, A, T, d] with the two terms inside the product."""
    H, W = by_row.shape[-1], by_column.shape[-1]
    places_TP = torch.cat((_onehot(H, q).repeat_interleave(W, 0), _onehot(W, q).repeat(H, 1)), 1)
    long_q = torch.cat((q * scale, by_row, by_column), -1)
    long_k = torch.cat((k, places_TP.expand(*k.shape[:2], -1, -1)), -1)
    long_v = F.pad(v, (0, H + W))  # the fused kernels need values as long as keys
    return F.scaled_dot_product_attention(long_q, long_k, long_v, scale=1.0)[..., : v.shape[-1]]


def _onehot(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
