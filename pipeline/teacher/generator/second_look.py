"""Masks looked at a second time: decoded again with themselves as a prompt, or with their point moved a little.

For the former SAM's own prompt encoder and decoder are called: a mask as a prompt changes the image's embedding for
every prompt, so that nothing can be shared between prompts.

Legend: K masks, C channels, h w their low-resolution grid.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from pipeline.teacher.generator.decoder import DecodedMasks, Decoder, PreparedImage

_CHUNK = 64
"""Masks at a time, as in the stock generator."""
_DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
"""In which a point is moved, (x, y)."""


@torch.no_grad()
def refined(
    sam: Sam, embedding_1Chw: Tensor, points_P2: Tensor, draft: DecodedMasks, times: int, min_iou: float | None
) -> DecodedMasks:
    """Masks decoded again, `times` times, with their own logits as mask prompt beside the point.

    Args:
        sam: the model; its single-mask output is taken, as a mask prompt leaves no ambiguity.
        embedding_1Chw: of the image.
        points_P2: the prompts (x, y), pixels of the encoder's square.
        draft: their masks.
        times: at least 1.
        min_iou: masks must have a higher predicted IoU afterwards, too; None keeps all.
    """
    points_K2 = points_P2[draft.kept_P3.nonzero()[:, 0].to(points_P2.device)]
    predicted_iou_K, logits_Khw = draft.predicted_iou_P3[draft.kept_P3], draft.logits_Khw
    for _ in range(times):
        chunks = [_decoded_again(sam, embedding_1Chw, points, logits)
                  for points, logits in zip(points_K2.split(_CHUNK), logits_Khw.split(_CHUNK), strict=True)
                  if len(points)]  # fmt: skip
        if not chunks:
            return draft
        predicted_iou_K, logits_Khw = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    predicted_iou_P3, kept_P3 = draft.predicted_iou_P3.clone(), draft.kept_P3.clone()
    predicted_iou_P3[draft.kept_P3] = predicted_iou_K
    good_K = torch.ones_like(predicted_iou_K, dtype=torch.bool) if min_iou is None else predicted_iou_K > min_iou
    kept_P3[draft.kept_P3] = good_K
    return DecodedMasks(predicted_iou_P3, kept_P3, logits_Khw[good_K.to(logits_Khw.device)])


def _decoded_again(sam: Sam, embedding_1Chw: Tensor, points_K2: Tensor, logits_Khw: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted IoU [K], on the CPU, and logits [K, h, w]."""
    labels = torch.ones(len(points_K2), 1, dtype=torch.int, device=points_K2.device)
    sparse, dense = sam.prompt_encoder(points=(points_K2[:, None], labels), boxes=None, masks=logits_Khw[:, None])
    logits_K1hw, predicted_iou_K1 = sam.mask_decoder(
        image_embeddings=embedding_1Chw,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return predicted_iou_K1[:, 0].float().cpu(), logits_K1hw[:, 0].float()


@torch.no_grad()
def prompt_stability(
    decoder: Decoder,
    prepared: PreparedImage,
    points_K2: Tensor,
    logits_Khw: Tensor,
    distance: float,
    threshold: float,
    inside: tuple[int, int],
) -> Tensor:
    """How much of each mask stays when its point is moved, [K] in [0, 1], on the CPU.

    That is the mean, over four points around its own, of the highest IoU with one of the three masks found there.

    Args:
        decoder: finds the masks.
        prepared: the image.
        points_K2: the prompt (x, y) of each mask, pixels of the encoder's square.
        logits_Khw: the masks.
        distance: by which points are moved up, down, left and right, pixels of the square.
        threshold: logits above it are a mask's.
        inside: rows and columns of h w that show the image; the others are the square's padding.
    """
    rows, columns = inside
    if not len(points_K2):
        return torch.zeros(0)
    flags_K1hw = logits_Khw[:, None, :rows, :columns] > threshold
    total_K = torch.zeros(len(points_K2), device=logits_Khw.device)
    for direction in _DIRECTIONS:
        moved_K2 = points_K2 + distance * torch.tensor(direction, dtype=points_K2.dtype, device=points_K2.device)
        logits_Nhw = decoder.decode(prepared, moved_K2, None).logits_Khw[:, :rows, :columns]
        found_K3hw = logits_Nhw.unflatten(0, (len(points_K2), -1)) > threshold
        shared_K3 = (found_K3hw & flags_K1hw).sum((2, 3))
        total_K += (shared_K3 / (found_K3hw | flags_K1hw).sum((2, 3)).clamp(min=1)).amax(1)
    return (total_K / len(_DIRECTIONS)).cpu()
