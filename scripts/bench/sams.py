"""Mask generators to race: stock, ours and transformers', all of them told the same answers.

Legend: as in `answers`; H W image, S side of the encoder's square.
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

from pipeline.teacher.generator.decoder import Decoded, Decoder, PreparedImage
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.masks import MaskSet
from scripts.bench.answers import Answers

Picture = npt.NDArray[np.uint8]


class _Turn:
    """Whose turn it is: prompts come in the grid's order, image after image."""

    def __init__(self, answers: Answers) -> None:
        self._next = 0
        self._prompts = len(answers.object_P)
        self._device = answers.object_P.device

    def take(self, count: int) -> Tensor:
        """The next prompts."""
        prompts = torch.arange(self._next, self._next + count, device=self._device) % self._prompts
        self._next = (self._next + count) % self._prompts
        return prompts


def stock_masks(sam: Sam, answers: Answers, points_per_side: int, image: Picture) -> Callable[[], list[dict[str, Any]]]:
    """The stock generator; its decoder is told its answers by a hook, which a SAM that is shared must not have yet."""
    generator = SamAutomaticMaskGenerator(sam, points_per_side=points_per_side)
    turn = _Turn(answers)

    def tell(_decoder: nn.Module, _inputs: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        prompts = turn.take(len(output[1]))
        return answers.all_logits(prompts), answers.predicted_iou_P3[prompts]

    def generate() -> list[dict[str, Any]]:
        hook = sam.mask_decoder.register_forward_hook(tell)
        try:
            return generator.generate(image)
        finally:
            hook.remove()

    return generate


def our_masks(
    sam: Sam, answers: Answers, points_per_side: int, image: Picture, precision: torch.dtype = torch.float32
) -> Callable[[], MaskSet]:
    """Our generator; it is told the predicted IoU before it draws, so that it draws as many masks as it would."""
    generate_many = our_masks_of_many(sam, answers, points_per_side, [image], precision)
    return lambda: generate_many()[0]


def our_masks_of_many(
    sam: Sam,
    answers: Answers,
    points_per_side: int,
    images: Sequence[Picture],
    precision: torch.dtype = torch.float32,
    batched: bool | None = None,
) -> Callable[[], list[MaskSet]]:
    """The same, handed several images at once."""
    generator = AutomaticMaskGenerator(sam, points_per_side, precision=precision, batched=batched)
    generator.decoder = _ToldDecoder(generator.decoder, answers)
    return lambda: generator.generate_many(images)


class _ToldDecoder:
    """A folded decoder that does its work and then says what it is told."""

    def __init__(self, decoder: Decoder, answers: Answers) -> None:
        if decoder.fallback_reason:
            raise ValueError(f"the decoder would be called as it is: {decoder.fallback_reason}")
        self.fallback_reason = decoder.fallback_reason
        self._decoder = decoder
        self._answers = answers
        self._ious, self._turn = _Turn(answers), _Turn(answers)
        cast(Any, decoder)._iou_head.register_forward_hook(self._tell)

    def _tell(self, _head: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        told = self._answers.predicted_iou_P3[self._ious.take(len(output))]
        return torch.cat((output[:, :1], told), 1)

    def prepare(self, embedding_1Chw: Tensor) -> PreparedImage:
        return self._decoder.prepare(embedding_1Chw)

    def decode(self, prepared: PreparedImage, points_P2: Tensor, predicted_iou_thresh: float | None) -> Decoded:
        decoded = self._decoder.decode(prepared, points_P2, predicted_iou_thresh)
        prompts, masks = decoded.kept_P3.nonzero().T.to(decoded.logits_Khw.device)
        logits = self._answers.logits(self._turn.take(len(points_P2))[prompts], masks)
        return Decoded(decoded.predicted_iou_P3, decoded.kept_P3, logits)


def transformers_masks(answers: Answers, points_per_side: int, image: Picture) -> Callable[[], dict[str, Any]]:
    """transformers' mask-generation pipeline over a ViT-B of random weights, told the same answers."""
    from transformers import SamConfig, SamImageProcessor, SamModel, pipeline

    device = answers.object_P.device
    model = SamModel(SamConfig()).eval().to(device)  # type: ignore[arg-type]
    run: Any = pipeline("mask-generation", model=model, image_processor=SamImageProcessor(), device=device)
    turn, picture = _Turn(answers), Image.fromarray(image)

    def tell(_model: nn.Module, _inputs: Any, output: Any) -> Any:
        prompts = turn.take(output.iou_scores.shape[1])
        output["pred_masks"] = answers.all_logits(prompts)[None]
        output["iou_scores"] = answers.predicted_iou_P3[prompts][None]
        return output

    model.register_forward_hook(tell)
    return lambda: run(picture, points_per_batch=64, points_per_crop=points_per_side)


def told_sam(answers: Answers, side: int = 1024) -> Sam:
    """A SAM without an encoder, whose decoder only tells its answers: what takes time then is post-processing."""
    cells = answers.shapes_O3hw.shape[-1] // 4
    mean = [123.675, 116.28, 103.53]
    return Sam(cast(Any, _NoEncoder(side, cells)), cast(Any, _NoPrompts(cells)), cast(Any, _Told(answers)), mean, mean)


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


class _Told(nn.Module):
    transformer = None

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        everyone = torch.arange(len(answers.object_P))
        self._logits, self._iou = answers.all_logits(everyone), answers.predicted_iou_P3  # made before the clock starts
        self._turn = _Turn(answers)

    def forward(self, *, sparse_prompt_embeddings: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        prompts = self._turn.take(len(sparse_prompt_embeddings))
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
