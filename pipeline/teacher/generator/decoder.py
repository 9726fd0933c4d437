"""SAM's mask decoder for many prompts on one image (points, things): logits only of masks whose predicted IoU suffices.

What does not depend on the prompt is computed once per image, the rest in the cheapest order (`folding`), and prompts
of which no mask passes are never upscaled. Decoders that are not segment_anything's own are called unchanged.

Legend: P prompts, B prompts of a chunk, T tokens of a prompt, N cells of the image embedding, C channels, M masks of a
prompt (3), K kept masks, h w their low-resolution grid; after `embedding`, h w is the grid of the cells.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, cast

import torch
from segment_anything.modeling import PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional

from pipeline.teacher.generator.architecture import unsupported_decoder_reason
from pipeline.teacher.generator.folded_transformer import FoldedImage, FoldedTransformer
from pipeline.teacher.generator.folding import Upscaling, shuffle_pixels

_CPU_CHUNK_NUMBERS = 1 << 21
"""Numbers in the cells of a chunk on a CPU, so that they stay in its caches (2 prompts of ViT-B, measured)."""
_STOCK_CHUNK = 64
"""Prompts at a time as in the stock generator."""
_Module = TypeVar("_Module", bound=nn.Module)


class DecodedMasks(NamedTuple):
    """The masks of P prompts."""

    predicted_iou_P3: Tensor
    """SAM's estimate of the quality of each mask, float32, on the CPU."""
    kept_P3: Tensor
    """Which masks exceed the threshold for the predicted IoU, bool, on the CPU."""
    logits_Khw: Tensor
    """Low-resolution logits of the kept masks, float32, in the order of `kept_P3.nonzero()`."""


@dataclass(frozen=True)
class StockImage:
    """The embedding as the encoder gave it."""

    embedding_1Chw: Tensor


PreparedImage = FoldedImage | StockImage
"""What a decoder keeps of one image; only the class of decoder that made it can read it."""


class Decoder(Protocol):
    """Decodes prompts on prepared images."""

    @property
    def fallback_reason(self) -> str | None:
        """Why SAM's own decoder is called instead of the folded one; None where it is not."""
        ...

    def prepare(self, embedding_1Chw: Tensor) -> PreparedImage:
        """What all prompts of one image share, from its embedding (float32)."""
        ...

    def decode(self, prepared: PreparedImage, points_P2: Tensor, predicted_iou_thresh: float | None) -> DecodedMasks:
        """Masks of single foreground points (x, y), pixels of the encoder's square; a threshold of None keeps all."""
        ...

    def decode_things(
        self, prepared: PreparedImage, boxes_B4: Tensor, inside_B22: Tensor, predicted_iou_thresh: float | None
    ) -> DecodedMasks:
        """Masks of things, each prompted with its box and two points inside it.

        Args:
            prepared: the image.
            boxes_B4: (x0, y0, x1, y1), pixels of the encoder's square, float32.
            inside_B22: points (x, y), likewise.
            predicted_iou_thresh: masks must exceed it; None keeps all.
        """
        ...


def fastest_decoder(sam: Sam, precision: torch.dtype = torch.float32, prompts_at_once: int | None = None) -> Decoder:
    """The fastest decoder that is exact for this SAM; weights are read now, later changes are not seen.

    Args:
        sam: on its device.
        precision: of all that is as large as the image (float32 or bfloat16); tokens, prompts and the predicted IoU
            are always float32. SAM's own decoder ignores it.
        prompts_at_once: how many are decoded at a time; None for what fits a CPU's caches or, on an accelerator, all
            that are passed.
    """
    reason = unsupported_decoder_reason(sam)
    if reason is not None:
        return StockDecoder(sam, prompts_at_once or _STOCK_CHUNK, reason)
    return FoldedDecoder(sam, precision, prompts_at_once or _chunk_size(sam))


class FoldedDecoder:
    """`MaskDecoder` with a `TwoWayTransformer` of any size."""

    fallback_reason: str | None = None

    def __init__(self, sam: Sam, precision: torch.dtype, prompts_at_once: int | None) -> None:
        decoder = _frozen_copy(sam.mask_decoder)
        self._precision = precision
        self._prompts_at_once = prompts_at_once
        self._prompts = Prompts(sam.prompt_encoder)
        self._output_tokens = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))[None]
        self._transformer = FoldedTransformer(cast(TwoWayTransformer, decoder.transformer), precision)
        self._iou_head = decoder.iou_prediction_head
        self._mask_heads = list(decoder.output_hypernetworks_mlps)[1:]  # the first is for unambiguous prompts
        self._upscale = Upscaling(decoder.output_upscaling, precision)

    @torch.no_grad()
    def prepare(self, embedding_1Chw: Tensor) -> FoldedImage:
        """See `Decoder`."""
        return self._transformer.prepare(
            _flatten_cells(embedding_1Chw + self._prompts.dense_1Chw).to(self._precision),
            _flatten_cells(self._prompts.position_1Chw).to(self._precision),
        )

    @torch.no_grad()
    def decode(self, prepared: PreparedImage, points_P2: Tensor, predicted_iou_thresh: float | None) -> DecodedMasks:
        """See `Decoder`."""
        chunks = points_P2.split(self._chunk(len(points_P2)))
        return self._decode_all(prepared, map(self._prompts, chunks), predicted_iou_thresh)

    @torch.no_grad()
    def decode_things(
        self, prepared: PreparedImage, boxes_B4: Tensor, inside_B22: Tensor, predicted_iou_thresh: float | None
    ) -> DecodedMasks:
        """See `Decoder`."""
        size = self._chunk(len(boxes_B4))
        prompts = map(self._prompts.of_things, boxes_B4.split(size), inside_B22.split(size))
        return self._decode_all(prepared, prompts, predicted_iou_thresh)

    def _chunk(self, count: int) -> int:
        return self._prompts_at_once or max(1, count)

    def _decode_all(
        self, prepared: PreparedImage, chunks: Iterable[Tensor], predicted_iou_thresh: float | None
    ) -> DecodedMasks:
        """Masks of prompts that come in chunks of tokens [B, T, C]."""
        if not isinstance(prepared, FoldedImage):
            raise TypeError("the image was prepared by another decoder")
        return _concatenate([self._decode(prepared, prompts_BTC, predicted_iou_thresh) for prompts_BTC in chunks])

    def _decode(self, image: FoldedImage, prompts_BTC: Tensor, threshold: float | None) -> DecodedMasks:
        output_tokens = self._output_tokens.expand(len(prompts_BTC), -1, -1)
        tokens_BTC, cells_BNC = self._transformer(torch.cat((output_tokens, prompts_BTC), 1), image)
        predicted_iou_BM = self._iou_head(tokens_BTC[:, 0])[:, 1:].cpu()  # the only wait for an accelerator
        kept_BM = _above_threshold(predicted_iou_BM, threshold)
        return DecodedMasks(predicted_iou_BM, kept_BM, self._draw(tokens_BTC, cells_BNC, kept_BM))

    def _draw(self, tokens_BTC: Tensor, cells_BNC: Tensor, kept_BM: Tensor) -> Tensor:
        """Logits [K, 4h, 4w] of the kept masks; prompts without a kept mask are not upscaled."""
        height, width = self._prompts.position_1Chw.shape[2:]
        needed_B = kept_BM.any(1)
        if not needed_B.any():
            return tokens_BTC.new_empty(0, 4 * height, 4 * width)
        # Copied while the device is idle: later a copy would wait for its work.
        chosen = needed_B.nonzero()[:, 0].to(cells_BNC.device)
        kept_K = kept_BM[needed_B].flatten().nonzero()[:, 0].to(cells_BNC.device)
        if len(chosen) < len(cells_BNC):
            tokens_BTC, cells_BNC = tokens_BTC[chosen], cells_BNC[chosen]
        masks = [head(tokens_BTC[:, 2 + mask]) for mask, head in enumerate(self._mask_heads)]
        pixels_BPc = self._upscale(cells_BNC)
        maps_BMP = torch.stack(masks, 1).to(self._precision) @ pixels_BPc.transpose(1, 2)
        return shuffle_pixels(maps_BMP.flatten(0, 1)[kept_K].float(), height, width)


class Prompts:
    """SAM's prompt encoder for single foreground points and things, in float32 (it refuses bfloat16)."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = _frozen_copy(encoder)
        with torch.no_grad():
            self.dense_1Chw = self._encoder(points=None, boxes=None, masks=None)[1]
            """What SAM adds to the embedding where no mask is given."""
            self.position_1Chw = self._encoder.get_dense_pe()
            """Positions of the embedding's cells."""

    def __call__(self, points_B2: Tensor) -> Tensor:
        """Tokens [B, 2, C], the point's and the padding's, of points (x, y), pixels of the encoder's square.

        As `PromptEncoder._embed_points`, without looking up the labels, which keeps a GPU waiting: they are known here.
        """
        encoder = self._encoder
        points_B22 = functional.pad(points_B2[:, None] + 0.5, (0, 0, 0, 1))  # the pixel's centre, and a padding point
        point_BC = encoder.pe_layer.forward_with_coords(points_B22, encoder.input_image_size)[:, 0]
        padding_BC = encoder.not_a_point_embed.weight.expand(len(points_B2), -1)
        foreground = cast(nn.Embedding, encoder.point_embeddings[1])
        return torch.stack((point_BC + foreground.weight, padding_BC), 1)

    def of_things(self, boxes_B4: Tensor, inside_B22: Tensor) -> Tensor:
        """Tokens [B, 4, C] of things: of two points (x, y) inside, and of two corners of the box (x0, y0, x1, y1)."""
        return _things_prompt(self._encoder, boxes_B4, inside_B22)[0]


class StockDecoder:
    """SAM's own prompt encoder and mask decoder, of any class."""

    def __init__(self, sam: Sam, prompts_at_once: int, fallback_reason: str) -> None:
        self._sam = sam
        self._prompts_at_once = prompts_at_once
        self.fallback_reason: str | None = fallback_reason

    def prepare(self, embedding_1Chw: Tensor) -> StockImage:
        """See `Decoder`."""
        return StockImage(embedding_1Chw)

    @torch.no_grad()
    def decode(self, prepared: PreparedImage, points_P2: Tensor, predicted_iou_thresh: float | None) -> DecodedMasks:
        """See `Decoder`."""
        embedding = _embedding_of(prepared)
        return _concatenate(
            [self._decode(embedding, points, predicted_iou_thresh) for points in points_P2.split(self._prompts_at_once)]
        )

    def _decode(self, embedding_1Chw: Tensor, points_B2: Tensor, threshold: float | None) -> DecodedMasks:
        labels = torch.ones(len(points_B2), 1, dtype=torch.int, device=points_B2.device)
        sparse, dense = self._sam.prompt_encoder(points=(points_B2[:, None], labels), boxes=None, masks=None)
        return _decoded_by_sam(self._sam, embedding_1Chw, sparse, dense, threshold)

    @torch.no_grad()
    def decode_things(
        self, prepared: PreparedImage, boxes_B4: Tensor, inside_B22: Tensor, predicted_iou_thresh: float | None
    ) -> DecodedMasks:
        """See `Decoder`."""
        embedding, size = _embedding_of(prepared), self._prompts_at_once
        chunks = zip(boxes_B4.split(size), inside_B22.split(size), strict=True)
        prompts = [_things_prompt(self._sam.prompt_encoder, *chunk) for chunk in chunks]
        return _concatenate([_decoded_by_sam(self._sam, embedding, *own, predicted_iou_thresh) for own in prompts])


def _things_prompt(encoder: PromptEncoder, boxes_B4: Tensor, inside_B22: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [B, 4, C] of things, and what is added to the image's embedding."""
    labels = torch.ones(inside_B22.shape[:2], dtype=torch.int, device=inside_B22.device)
    return encoder(points=(inside_B22, labels), boxes=boxes_B4, masks=None)


def _embedding_of(prepared: PreparedImage) -> Tensor:
    if not isinstance(prepared, StockImage):
        raise TypeError("the image was prepared by another decoder")
    return prepared.embedding_1Chw


def _decoded_by_sam(
    sam: Sam, embedding_1Chw: Tensor, sparse: Tensor, dense: Tensor, threshold: float | None
) -> DecodedMasks:
    logits_BMhw, predicted_iou_BM = sam.mask_decoder(
        image_embeddings=embedding_1Chw,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    predicted_iou_BM = predicted_iou_BM.cpu()
    kept_BM = _above_threshold(predicted_iou_BM, threshold)
    return DecodedMasks(predicted_iou_BM.float(), kept_BM, logits_BMhw[kept_BM].float())


def _chunk_size(sam: Sam) -> int | None:
    if sam.device.type != "cpu":
        return None
    height, width = sam.prompt_encoder.image_embedding_size
    return max(1, _CPU_CHUNK_NUMBERS // (height * width * sam.prompt_encoder.embed_dim))


def _above_threshold(predicted_iou_BM: Tensor, threshold: float | None) -> Tensor:
    if threshold is None:
        return torch.ones_like(predicted_iou_BM, dtype=torch.bool)
    return predicted_iou_BM > threshold


def _concatenate(chunks: list[DecodedMasks]) -> DecodedMasks:
    return DecodedMasks(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))


def _flatten_cells(map_1Chw: Tensor) -> Tensor:
    return map_1Chw.flatten(2).transpose(1, 2).contiguous()


def _frozen_copy(module: _Module) -> _Module:
    return copy.deepcopy(module).float().eval().requires_grad_(False)
