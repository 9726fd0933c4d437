"""Mask generators to compare: stock, ours and transformers', all of them with the same decoder outputs.

Legend: as in `decoder_outputs`; H W image, S side of the encoder's square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam
from torch import Tensor, nn

from pipeline.teacher.generator.decoder import DecodedMasks, Decoder, PreparedImage
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.masks import MaskSet
from scripts.bench.decoder_outputs import DecoderOutputs

Picture = npt.NDArray[np.uint8]


class _PromptOrder:
    """Which prompts are next: they come in the grid's order, image after image."""

    def __init__(self, outputs: DecoderOutputs) -> None:
        self._next = 0
        self._prompts = len(outputs.object_P)
        self._device = outputs.object_P.device

    def take(self, count: int) -> Tensor:
        """The next prompts."""
        prompts = torch.arange(self._next, self._next + count, device=self._device) % self._prompts
        self._next = (self._next + count) % self._prompts
        return prompts


def stock_masks(
    sam: Sam, outputs: DecoderOutputs, points_per_side: int, image: Picture
) -> Callable[[], list[dict[str, Any]]]:
    """The stock generator; a hook replaces its decoder's outputs. A shared SAM must not have such a hook already."""
    generator = SamAutomaticMaskGenerator(sam, points_per_side=points_per_side)
    order = _PromptOrder(outputs)

    def replace_output(_decoder: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        prompts = order.take(len(output[1]))
        return outputs.all_logits(prompts), outputs.predicted_iou_P3[prompts]

    def generate() -> list[dict[str, Any]]:
        hook = sam.mask_decoder.register_forward_hook(replace_output)
        try:
            return generator.generate(image)
        finally:
            hook.remove()

    return generate


def our_masks(
    sam: Sam, outputs: DecoderOutputs, points_per_side: int, image: Picture, precision: torch.dtype = torch.float32
) -> Callable[[], MaskSet]:
    """Our generator; predicted IoUs are replaced before masks are drawn: as many as with trained weights."""
    generate_many = our_masks_of_many(sam, outputs, points_per_side, [image], precision)
    return lambda: generate_many()[0]


def our_masks_of_many(
    sam: Sam,
    outputs: DecoderOutputs,
    points_per_side: int,
    images: Sequence[Picture],
    precision: torch.dtype = torch.float32,
    batched: bool | None = None,
) -> Callable[[], list[MaskSet]]:
    """The same for several images at once."""
    generator = AutomaticMaskGenerator(sam, points_per_side, precision=precision, batched=batched)
    generator.decoder = _FixedOutputDecoder(generator.decoder, outputs)
    return lambda: generator.generate_many(images)


class _FixedOutputDecoder:
    """A folded decoder that does its work, whose outputs are then replaced."""

    def __init__(self, decoder: Decoder, outputs: DecoderOutputs) -> None:
        if decoder.fallback_reason:
            raise ValueError(f"the decoder cannot be folded: {decoder.fallback_reason}")
        self.fallback_reason = decoder.fallback_reason
        self._decoder = decoder
        self._outputs = outputs
        self._ious, self._order = _PromptOrder(outputs), _PromptOrder(outputs)
        cast(Any, decoder)._iou_head.register_forward_hook(self._replace_iou)

    def _replace_iou(self, _head: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        iou_K3 = self._outputs.predicted_iou_P3[self._ious.take(len(output))]
        return torch.cat((output[:, :1], iou_K3), 1)

    def prepare(self, embedding_1Chw: Tensor) -> PreparedImage:
        return self._decoder.prepare(embedding_1Chw)

    def decode(self, prepared: PreparedImage, points_P2: Tensor, predicted_iou_thresh: float | None) -> DecodedMasks:
        decoded = self._decoder.decode(prepared, points_P2, predicted_iou_thresh)
        prompts, masks = decoded.kept_P3.nonzero().T.to(decoded.logits_Khw.device)
        logits = self._outputs.logits(self._order.take(len(points_P2))[prompts], masks)
        return DecodedMasks(decoded.predicted_iou_P3, decoded.kept_P3, logits)

    def decode_things(
        self, prepared: PreparedImage, boxes_B4: Tensor, inside_B22: Tensor, predicted_iou_thresh: float | None
    ) -> DecodedMasks:
        raise NotImplementedError("outputs are known of points alone")


def transformers_masks(outputs: DecoderOutputs, points_per_side: int, image: Picture) -> Callable[[], dict[str, Any]]:
    """transformers' mask-generation pipeline over a ViT-B of random weights, with the same outputs."""
    from transformers import SamConfig, SamImageProcessor, SamModel, pipeline

    device = outputs.object_P.device
    model = SamModel(SamConfig()).eval().to(device)  # type: ignore[arg-type]
    run: Any = pipeline("mask-generation", model=model, image_processor=SamImageProcessor(), device=device)
    order, picture = _PromptOrder(outputs), Image.fromarray(image)

    def replace_output(_model: nn.Module, _inputs: Any, output: Any) -> Any:
        prompts = order.take(output.iou_scores.shape[1])
        output["pred_masks"] = outputs.all_logits(prompts)[None]
        output["iou_scores"] = outputs.predicted_iou_P3[prompts][None]
        return output

    model.register_forward_hook(replace_output)
    return lambda: run(picture, points_per_batch=64, points_per_crop=points_per_side)


def fixed_output_sam(outputs: DecoderOutputs, side: int = 1024) -> Sam:
    """A SAM without encoder whose decoder returns fixed outputs: all time is then spent on post-processing."""
    cells = outputs.shapes_O3hw.shape[-1] // 4
    mean = [123.675, 116.28, 103.53]
    return Sam(
        cast(Any, _NoEncoder(side, cells)),
        cast(Any, _NoPrompts(cells)),
        cast(Any, _FixedMaskDecoder(outputs)),
        mean,
        mean,
    )


class _NoEncoder(nn.Module):
    def __init__(self, side: int, cells: int) -> None:
        super().__init__()
        self.img_size, self._cells = side, cells

    def forward(self, images_B3SS: Tensor) -> Tensor:
        return images_B3SS.new_zeros(len(images_B3SS), 1, self._cells, self._cells)


class _NoPrompts(nn.Module):
    embed_dim = 1

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.image_embedding_size = (cells, cells)

    def get_dense_pe(self) -> Tensor:
        return torch.zeros(1)

    def forward(self, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> tuple[Tensor, Tensor]:
        return points[0], torch.zeros(1)


class _FixedMaskDecoder(nn.Module):
    transformer = None

    def __init__(self, outputs: DecoderOutputs) -> None:
        super().__init__()
        everyone = torch.arange(len(outputs.object_P))
        self._logits, self._iou = outputs.all_logits(everyone), outputs.predicted_iou_P3  # made before the clock starts
        self._order = _PromptOrder(outputs)

    def forward(self, *, sparse_prompt_embeddings: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        prompts = self._order.take(len(sparse_prompt_embeddings))
        return self._logits[prompts], self._iou[prompts]


def equal_masks(stock: list[dict[str, Any]], ours: MaskSet) -> bool:
    """Same masks, boxes and scores in the same order."""
    if len(stock) != len(ours):
        return False
    scores = [(record["predicted_iou"], record["stability_score"]) for record in stock]
    own = list(zip(ours.predicted_iou_M.tolist(), ours.stability_M.tolist(), strict=True))
    return scores == own and all(
        np.array_equal(record["segmentation"], mask) for record, mask in zip(stock, ours.dense(), strict=True)
    )
