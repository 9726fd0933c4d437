"""The architecture of the embedded demo SAM: segment_anything's own modules, small, for 256-pixel windows.

It differs from SAM ViT-B in size and in one module: the patch embedding is a stack of convolutions (a "stem") instead
of a single linear map. A transformer that sees raw patches needs more images to find edges than a demo can be trained
on (Xiao et al., "Early convolutions help transformers see better", 2021). Masks are decoded at 64x64, a cell for
every 4 pixels.

Legend: B images, H W pixels, C channels, h w cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 256
"""Side of the image that the encoder sees, pixels: the demo's window."""
PATCH = 16
"""Pixels per cell of the image embedding."""
WIDTH = 160
"""Channels of the encoder's blocks."""
HEADS = 4
"""Attention heads of the encoder's blocks."""
DEPTH = 5
"""Blocks of the encoder; with 16x16 cells all of them see the whole image."""
STEM = ((24, 0), (48, 1), (96, 2), (WIDTH, 0))
"""(channels, residual blocks) of the stem's stages, each of half the resolution of the one before."""
CHANNELS = 96
"""Channels of the image embedding, the prompts and the decoder."""


class ConvolutionalStem(nn.Module):
    """Patches embedded by 3x3 convolutions: images [B, 3, H, W] to cells [B, H / 16, W / 16, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, residuals in STEM:
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), nn.GroupNorm(8, channels), nn.GELU()]
            layers += [_Residual(channels) for _ in range(residuals)]
            before = channels
        self.layers = nn.Sequential(*layers)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Cells, channels last, as SAM's blocks take them."""
        cells_BChw = self.layers(images_B3HW.contiguous(memory_format=torch.channels_last))
        return cells_BChw.permute(0, 2, 3, 1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(8, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.second(F.gelu(self.norm(self.first(x_BCHW))))


def build_demo_sam() -> Sam:
    """The demo SAM with random weights, in evaluation mode."""
    grid = SIZE // PATCH
    sam = Sam(image_encoder=_image_encoder(), prompt_encoder=_prompt_encoder(grid), mask_decoder=_mask_decoder())
    return sam.eval()


def _image_encoder() -> ImageEncoderViT:
    encoder = ImageEncoderViT(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=4,
        out_chans=CHANNELS,
        norm_layer=cast(Any, partial(torch.nn.LayerNorm, eps=1e-6)),  # SAM calls it, it need not be a class
        use_rel_pos=True,
        window_size=0,
    )
    encoder.patch_embed = cast(Any, ConvolutionalStem())
    return encoder


def _prompt_encoder(grid: int) -> PromptEncoder:
    return PromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=(grid, grid), input_image_size=(SIZE, SIZE), mask_in_chans=16
    )


def _mask_decoder() -> MaskDecoder:
    return MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=4, mlp_dim=256),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=128,
    )
