"""Promptable networks of transformers with random weights, small enough for tests, each with its image processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    EdgeTamConfig,
    EdgeTamModel,
    EdgeTamVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3VisionConfig,
    Sam3ViTConfig,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamImageProcessor,
    SamModel,
)
from transformers.modeling_outputs import BaseModelOutput

from pipeline.pretrained import quiet

SIDE = 64
"""Of the square that all of them see, pixels."""
CHANNELS = 32
"""Of the image's embedding."""
_DECODER: dict[str, Any] = {
    "hidden_size": CHANNELS,
    "mlp_dim": 64,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 32,
}


_PROMPTS: dict[str, Any] = {"hidden_size": CHANNELS, "image_size": SIDE, "patch_size": 16}


def _vit() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "output_channels": CHANNELS,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "window_size": 3,
        "global_attn_indexes": [1],
        "num_pos_feats": CHANNELS // 2,
    }


def padded() -> SamImageProcessor:
    return SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": SIDE // 4}
    )


def sam() -> tuple[Any, Any]:
    config = SamConfig(vision_config=_vit(), prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return SamModel(config), padded()


def sam_hq() -> tuple[Any, Any]:
    decoder = {**_DECODER, "vit_dim": 32}
    config = SamHQConfig(vision_config=_vit(), prompt_encoder_config=_PROMPTS, mask_decoder_config=decoder)
    return SamHQModel(config), padded()


def sam2() -> tuple[Any, Any]:
    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        global_attention_blocks=[3],
        window_size_per_stage=[4, 4, 4, 2],
        window_positional_embedding_background_size=[2, 2],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[128, 64, 32, 16],
        backbone_feature_sizes=_levels(),
        fpn_hidden_size=CHANNELS,
    )
    config = Sam2Config(vision_config=vision, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return Sam2Model(config), Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})


def sam2_video() -> tuple[Any, Any]:
    """SAM 2 with its parts for videos, as the hub has it."""
    network, processor = sam2()
    memory: dict[str, Any] = {
        "memory_attention_hidden_size": CHANNELS,
        "memory_attention_feed_forward_hidden_size": CHANNELS,
        "memory_attention_rope_feat_sizes": [SIDE // 16, SIDE // 16],
        "memory_attention_num_layers": 1,
        "memory_attention_downsample_rate": 1,
        "memory_encoder_hidden_size": CHANNELS,
        "memory_encoder_output_channels": CHANNELS // 2,
        "memory_fuser_embed_dim": CHANNELS,
        "memory_fuser_intermediate_dim": CHANNELS,
        "mask_downsampler_embed_dim": CHANNELS,
    }
    config = Sam2VideoConfig(
        vision_config=network.config.vision_config,
        prompt_encoder_config=_PROMPTS,
        mask_decoder_config=_DECODER,
        image_size=SIDE,
        **memory,
    )
    return Sam2VideoModel(config), processor


def sam3() -> tuple[Any, Any]:
    backbone = Sam3ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        window_size=2,
        global_attn_indexes=[1],
        pretrain_image_size=SIDE,
    )
    vision = Sam3VisionConfig(backbone_config=backbone, fpn_hidden_size=CHANNELS, backbone_feature_sizes=_levels())
    config = Sam3TrackerConfig(vision_config=vision, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return Sam3TrackerModel(config), Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})


class PyramidConfig(PreTrainedConfig):
    """Of the backbone below."""

    model_type = "tiny_pyramid"


class Pyramid(PreTrainedModel):
    """Four levels of strides 4 to 32, in place of the backbone of EdgeTAM, which needs timm."""

    config_class = PyramidConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__(config)
        widths = (3, 8, 16, 24, 32)
        strides = (4, 2, 2, 2)
        self.levels = nn.ModuleList(
            nn.Conv2d(before, after, stride, stride)
            for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """The levels, finest first, channels first."""
        levels = [pixel_values]
        for convolution in self.levels:
            levels.append(torch.tanh(convolution(levels[-1])))
        return BaseModelOutput(last_hidden_state=levels[1:])  # type: ignore[arg-type]


AutoConfig.register("tiny_pyramid", PyramidConfig)
AutoModel.register(PyramidConfig, Pyramid)


def edgetam() -> tuple[Any, Any]:
    vision = EdgeTamVisionConfig(
        backbone_config=PyramidConfig(),
        backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=_levels(),
        fpn_hidden_size=CHANNELS,
    )
    config = EdgeTamConfig(vision_config=vision, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)
    return EdgeTamModel(config), Sam2ImageProcessor(size={"height": SIDE, "width": SIDE})


NETWORKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "sam": sam,
    "sam_hq": sam_hq,
    "sam2": sam2,
    "sam2_video": sam2_video,
    "sam3": sam3,
    "edgetam": edgetam,
}


def save(kind: str, folder: Path) -> Path:
    """A network with random weights that tell images and points apart, in a folder as the hub has it."""
    torch.manual_seed(0)
    network, processor = NETWORKS[kind]()
    draw_weights(network)
    write(network, processor, folder)
    return folder


@torch.no_grad()
def draw_weights(network: torch.nn.Module) -> None:
    """Random weights, large enough that images and points make a difference."""
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(std=0.2)
        elif "norm" not in name:
            weight.normal_(std=0.1)


def write(network: Any, processor: Any, folder: Path) -> None:
    """Both as the hub has them."""
    with quiet():
        network.save_pretrained(folder)
        processor.save_pretrained(folder)


def _levels() -> list[list[int]]:
    return [[SIDE // stride] * 2 for stride in (4, 8, 16)]
