"""MobileSAM (Zhang et al., arXiv 2306.14289): SAM's prompt encoder and mask decoder behind a small image encoder.

Its encoder, a TinyViT of 6 million parameters that learned from ViT-H's embeddings, takes a fraction of ViT-B's time on
a processor without a GPU. timm has TinyViT; what MobileSAM changes of it (the last stage keeps the 64x64 cells) and
adds (SAM's neck) is here, and the names that its published weights have.

Legend: B images, S side of the image in pixels, c h w the embedding.
"""

from __future__ import annotations

import re
from typing import Any, cast

from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from pipeline.errors import WeightsError, first_line

SIZE = 1024
"""Side of the image that the encoder sees, pixels."""
CELLS = 64
"""Rows and columns of its embedding."""
CHANNELS = 256
"""Channels of its embedding."""
_ENCODER = "image_encoder."
_RENAMED = (
    (r"patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"layers\.(\d)\.downsample\.", lambda match: f"stages.{int(match[1]) + 1}.downsample."),
    (r"layers\.(\d)\.", r"stages.\1."),
    (r"\.c\.weight$", ".conv.weight"),
)
"""Published names of the encoder's weights, and timm's."""
_UNUSED = ("norm_head.", "head.")
"""The published file has TinyViT's classifier too, which MobileSAM does not use."""


def tiny_vit() -> Any:
    """timm's class of the encoder.

    Raises:
        WeightsError: timm is not installed.
    """
    try:
        from timm.models.tiny_vit import TinyVit
    except ImportError as error:
        raise WeightsError(f"timm cannot be imported ({first_line(error)})", "sam.model = vit_t needs it",
                           "Run `pip install timm` (GoodSAM's extra `mobile-sam`)") from error  # fmt: skip
    return TinyVit


class TinyVitEncoder(nn.Module):
    """MobileSAM's image encoder with random weights.

    Raises:
        WeightsError: timm is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        network = tiny_vit()(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        network.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.img_size = SIZE
        self.patch_embed, self.stages = network.patch_embed, network.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, CHANNELS, 1, bias=False),
            LayerNorm2d(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Embeddings [B, c, h, w] of images that `Sam.preprocess` normalised and padded."""
        return self.neck(self.stages(self.patch_embed(images_B3SS)))


def build_mobile_sam() -> Sam:
    """MobileSAM with random weights, in evaluation mode.

    Raises:
        WeightsError: timm is not installed.
    """
    prompt_encoder = PromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=(CELLS, CELLS), input_image_size=(SIZE, SIZE), mask_in_chans=16
    )
    mask_decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=8, mlp_dim=2048),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return Sam(cast(Any, TinyVitEncoder()), prompt_encoder, mask_decoder).eval()


def with_our_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MobileSAM's published weights under the names that `build_mobile_sam` has; those of other models as they are."""
    if f"{_ENCODER}patch_embed.seq.0.c.weight" not in state:
        return state
    return {_our_name(name): value for name, value in state.items() if not _is_unused(name)}


def is_mobile_sam(state: dict[str, Tensor]) -> bool:
    """Whether these weights, under our names, are those of a MobileSAM."""
    return f"{_ENCODER}patch_embed.conv1.conv.weight" in state


def _is_unused(name: str) -> bool:
    return name.removeprefix(_ENCODER).startswith(_UNUSED)


def _our_name(name: str) -> str:
    if not name.startswith(_ENCODER):
        return name
    own = name.removeprefix(_ENCODER)
    for published, ours in _RENAMED:
        own = re.sub(published, ours, own)
    return _ENCODER + own
