"""The demo SAM in training: its initial weights, its predictions with gradients, and its losses.

Legend: B images, N points of an image, L levels (part, object, class region), h w low-resolution masks, C channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.classes import DENSEPASS_13
from pipeline.teacher.demo_sam import CHANNELS, PATCH, SIZE, build_demo_sam
from pipeline.teacher.generator.encoder import fused_attention
from scripts.demo_sam_examples import Example

LEVEL_OF_OUTPUT = (1, 0, 1, 2)
"""Outputs 1-3 answer part, object, class region; output 0, SAM's single-mask answer, the object."""
WEIGHT_OF_OUTPUT = (0.1, 0.3, 0.3, 0.3)
"""The single-mask answer is not used by the mask generator and counts less."""
CLASSES = len(DENSEPASS_13)
LOW = SIZE // PATCH * 4
"""Side of the decoder's masks."""
AFFINITY = 16
"""Channels per level of the auxiliary head's pixel embeddings."""


def speed_up_global_attention(sam: Sam) -> None:
    """Train the global blocks with fused attention, positions folded into the product: far less memory."""
    for block in sam.image_encoder.blocks:
        attention = cast(Any, block).attn
        if cast(Any, block).window_size == 0:
            attention.forward = partial(fused_attention, attention, positions_in_product=True)


class SamWithAuxiliaryHead(nn.Module):
    """SAM and an auxiliary head, thrown away after training, through which every pixel teaches the encoder.

    The head predicts classes and edges, and embeds pixels so that those of one part (object, region) lie close
    together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sam = build_demo_sam()
        speed_up_global_attention(self.sam)
        _initialise(self.sam)
        self.auxiliary = nn.Conv2d(CHANNELS, (CLASSES + 2 + 3 * AFFINITY) * 16, 1)

    def embed(self, images_B3HW: Tensor) -> Tensor:
        """Image embeddings [B, C, 16, 16]."""
        with torch.autocast("cpu", torch.bfloat16):
            embedded = self.sam.image_encoder(self.sam.preprocess(images_B3HW))
        return embedded.float()

    def predict_masks(self, embedding_BChw: Tensor, points_BN2: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, N, 4, LOW, LOW] and predicted IoU [B, N, 4] of all outputs for single points.

        `MaskDecoder.predict_masks` for several images at once; it takes the prompts of one.
        """
        B, N, _ = points_BN2.shape
        decoder = self.sam.mask_decoder
        labels = torch.ones(B * N, 1, dtype=torch.int)
        sparse, dense = self.sam.prompt_encoder(
            points=(points_BN2.reshape(B * N, 1, 2), labels), boxes=None, masks=None
        )
        own = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))
        tokens = torch.cat((own.expand(B * N, -1, -1), sparse), 1)
        cells = embedding_BChw.repeat_interleave(N, 0) + dense
        position = self.sam.prompt_encoder.get_dense_pe().expand(B * N, -1, -1, -1)
        answers, seen = decoder.transformer(cells, position, tokens)
        upscaled = decoder.output_upscaling(seen.transpose(1, 2).reshape(cells.shape)).flatten(2)
        weights = [head(answers[:, 1 + k]) for k, head in enumerate(decoder.output_hypernetworks_mlps)]
        logits = torch.stack(weights, 1) @ upscaled
        return logits.reshape(B, N, 4, LOW, LOW), decoder.iou_prediction_head(answers[:, 0]).reshape(B, N, 4)

    def predict_pixels(self, embedding_BChw: Tensor) -> Tensor:
        """Class logits, edge logits and pixel embeddings [B, CLASSES + 2 + 3 * AFFINITY, LOW, LOW] of the auxiliary
        head."""
        return F.pixel_shuffle(self.auxiliary(embedding_BChw), 4)


def _initialise(sam: Sam) -> None:
    """Truncated normals as in ViT, and a decoder that knows from the start where its point is.

    Points and image cells meet in the cross attentions by their positional codes alone: queries and keys that start
    equal attend to the place of the point at once, which otherwise takes a thousand steps to learn. Twice SAM's
    frequencies make that place one cell wide.
    """
    for module in sam.image_encoder.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    nn.init.trunc_normal_(cast(Tensor, sam.image_encoder.pos_embed), std=0.02)
    cast(Tensor, sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix).mul_(2)
    for attention in cross_attentions(sam):
        nn.init.orthogonal_(attention.q_proj.weight, gain=2.0)
        attention.k_proj.weight.data.copy_(attention.q_proj.weight.data)
        for projection in (attention.q_proj, attention.k_proj):
            nn.init.zeros_(projection.bias)


def cross_attentions(sam: Sam) -> list[Attention]:
    """Those between prompt tokens and image cells."""
    transformer = cast(Any, sam.mask_decoder.transformer)
    pairs = [(layer.cross_attn_token_to_image, layer.cross_attn_image_to_token) for layer in transformer.layers]
    return [*(attention for pair in pairs for attention in pair), transformer.final_attn_token_to_image]


def images_of(examples: list[Example]) -> Tensor:
    """Images as [B, 3, H, W] float32, 0..255, as SAM's preprocessing expects them."""
    return torch.from_numpy(np.stack([e.image_HW3 for e in examples])).permute(0, 3, 1, 2).float()


def targets_of(example: Example) -> Tensor:
    """Soft masks [N, L, LOW, LOW]: the covered share of each cell, with more contrast, so that logits get sharp."""
    covered = F.interpolate(torch.from_numpy(example.masks_NLHW).float(), (LOW, LOW), mode="area")
    return ((covered - 0.5) * 1.5 + 0.5).clamp(0, 1)


def mask_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy and dice per mask, [...] of logits [..., h, w] and soft targets in [0, 1].

    SAM's focal loss leaves logits blunt, and the stability filter then drops the masks; plain cross entropy does not.
    Small masks weigh more, and their insides more again, so that they are learned too instead of being left empty.
    """
    area, cells = targets.sum((-2, -1)), logits[0, 0].numel()
    inside = (cells / (area + 8)).sqrt()[..., None, None].clamp(max=8)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=inside).sum((-2, -1))
    p = logits.sigmoid()
    dice = 1 - (2 * (p * targets).sum((-2, -1)) + 1) / (p.sum((-2, -1)) + area + 1)
    return entropy / ((area + 64) * cells).sqrt() + dice


def iou_of(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of thresholded masks, [...]."""
    a, b = logits > 0, targets > 0.5
    return (a & b).sum((-2, -1)) / (a | b).sum((-2, -1)).clamp(min=1)


def point_loss(logits_N4hw: Tensor, iou_N4: Tensor, targets_NLhw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mask loss, loss of the predicted IoU, mean IoU) over all outputs, each against its level."""
    targets_N4hw = targets_NLhw[:, LEVEL_OF_OUTPUT]
    weight_4 = logits_N4hw.new_tensor(WEIGHT_OF_OUTPUT) / len(logits_N4hw)
    with torch.no_grad():
        actual_N4 = iou_of(logits_N4hw, targets_N4hw)
    return (
        (mask_losses(logits_N4hw, targets_N4hw) * weight_4).sum(),
        ((iou_N4 - actual_N4).square() * weight_4).sum(),
        (actual_N4 * weight_4).sum(),
    )


def affinity_loss(pixels_Chw: Tensor, points_N2: Tensor, targets_NLhw: Tensor) -> Tensor:
    """Pixels of one mask close together, others apart: 3 minus the squared distance to the point's pixel is a logit."""
    embedded_LChw = pixels_Chw.reshape(3, AFFINITY, LOW, LOW)
    x_N, y_N = (points_N2 * (LOW / SIZE)).long().clamp(0, LOW - 1).unbind(1)
    here_NLC = embedded_LChw[:, :, y_N, x_N].permute(2, 0, 1)
    dot_NLhw = torch.einsum("nlc,lchw->nlhw", here_NLC, embedded_LChw)
    distance_NLhw = here_NLC.square().sum(2)[..., None, None] + embedded_LChw.square().sum(1) - 2 * dot_NLhw
    return mask_losses(3 - distance_NLhw, targets_NLhw).mean()


def edges_of(ids_BHW: Tensor) -> Tensor:
    """Where ids change to the right or below, pooled to [B, LOW, LOW], 0 or 1."""
    right = F.pad((ids_BHW[:, :, 1:] != ids_BHW[:, :, :-1]).float(), (0, 1))
    below = F.pad((ids_BHW[:, 1:] != ids_BHW[:, :-1]).float(), (0, 0, 0, 1))
    return F.adaptive_max_pool2d(torch.maximum(right, below)[:, None], LOW)[:, 0]


def auxiliary_loss(pixels_BChw: Tensor, examples: list[Example]) -> Tensor:
    """Classes, and edges of objects and parts, per pixel."""
    labels = torch.from_numpy(np.stack([e.labels_HW for e in examples]))[:, None]
    labels = F.interpolate(labels, (LOW, LOW), mode="nearest-exact")[:, 0].long()
    ids = (np.stack([e.instances_HW for e in examples]), np.stack([e.parts_HW for e in examples]))
    edges = torch.stack([edges_of(torch.from_numpy(x.astype(np.int32))) for x in ids], 1)
    classes_logits, edge_logits = pixels_BChw.split([CLASSES, 2], dim=1)
    return F.cross_entropy(classes_logits, labels) + F.binary_cross_entropy_with_logits(edge_logits, edges)
