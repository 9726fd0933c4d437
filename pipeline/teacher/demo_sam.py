"""The architecture of the embedded demo SAM: segment_anything's own modules, small, for 256-pixel windows.

Nothing in it differs in kind from SAM ViT-B: a ViT encoder with windowed and global attention, the prompt encoder, the
two-way mask decoder with three mask outputs. A patch is 10 pixels wide instead of 16 and a window of 256 pixels is seen
at 240, because the demo's poles are 3 pixels wide: masks are decoded at 96x96, a cell for every 2.7 pixels.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

SIZE = 240
"""Side of the image that the encoder sees, pixels."""
PATCH = 10
"""Side of a patch, pixels."""
WIDTH = 144
"""Channels of the encoder's blocks; 48 per head."""
DEPTH = 6
"""Blocks of the encoder; the third and the last see the whole image, the others 8x8 patches."""
CHANNELS = 80
"""Channels of the image embedding, the prompts and the decoder."""


def build_demo_sam() -> Sam:
    """The demo SAM with random weights, in evaluation mode."""
    grid = SIZE // PATCH
    sam = Sam(image_encoder=_image_encoder(), prompt_encoder=_prompt_encoder(grid), mask_decoder=_mask_decoder())
    return sam.eval()


def _image_encoder() -> ImageEncoderViT:
    return ImageEncoderViT(
        img_size=SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=3,
        mlp_ratio=4,
        out_chans=CHANNELS,
        norm_layer=cast(Any, partial(torch.nn.LayerNorm, eps=1e-6)),  # SAM calls it, it need not be a class
        use_rel_pos=True,
        window_size=8,
        global_attn_indexes=(2, 5),
    )


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
