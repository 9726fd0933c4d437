"""What the student learns from, on its device: cached codes decoded to probabilities and pooled to the losses' stride.

Legend: B batch, C classes, D feature channels, H W panorama or crop, h w the losses' resolution (H / stride, rounded
up).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.student.data import TrainingBatch
from pipeline.student.model import STRIDE


@dataclass(frozen=True)
class MkaTargets:
    """Targets of the losses; weights are shares of the pixels that were pooled, in [0, 1]."""

    assistant_BChw: Tensor
    """S_TA^w: stitched assistant probabilities, mean over the valid pixels."""
    ensemble_BChw: Tensor
    """E: ensemble probabilities, likewise."""
    reliable_Bhw: Tensor
    """Weight of valid pixels with M = 1; E_H is the ensemble where this is not zero. At most `valid_Bhw`."""
    valid_Bhw: Tensor
    """Weight of pixels that are not ignored."""
    boundary_Bhw: Tensor
    """B_ref at the student's own resolution (H/4, W/4): 1 where one of the pooled pixels is a boundary."""
    boundary_valid_Bhw: Tensor
    """Valid weight at that resolution."""
    features: Mapping[int, Tensor]
    """The assistant's encoder levels by number (1 = finest), [B, D, rows, columns] each."""
    features_known_B: Tensor
    """1 where the features belong to the image as the student sees it, 0 where they do not."""


def make_targets(batch: TrainingBatch, stride: int) -> MkaTargets:
    """Decode and pool a batch by `stride`; ignored pixels enter no mean."""
    valid_B1HW = (~batch.ignored_BHW).float().unsqueeze(1)
    reliable_B1HW = batch.reliable_BHW.float().unsqueeze(1) * valid_B1HW
    boundary_B1HW = batch.boundary_BHW.float().unsqueeze(1) * valid_B1HW
    return MkaTargets(
        assistant_BChw=pool_probabilities(decode(batch.assistant_BCHW), valid_B1HW, stride),
        ensemble_BChw=pool_probabilities(decode(batch.ensemble_BCHW), valid_B1HW, stride),
        reliable_Bhw=pool_mean(reliable_B1HW, stride).squeeze(1),
        valid_Bhw=pool_mean(valid_B1HW, stride).squeeze(1),
        boundary_Bhw=functional.max_pool2d(_pad_rows(boundary_B1HW, STRIDE), STRIDE).squeeze(1),
        boundary_valid_Bhw=pool_mean(valid_B1HW, STRIDE).squeeze(1),
        features=batch.features,
        features_known_B=(~batch.mirrored_B).float(),
    )


def decode(codes_BCHW: Tensor) -> Tensor:
    """uint8 codes 255 * sqrt(p) (the store's sqrt8) -> float32 probabilities that sum to 1 over C."""
    squares = codes_BCHW.float().square_()
    return squares.div_(squares.sum(dim=1, keepdim=True).clamp_min_(1.0))


def pool_mean(x_BCHW: Tensor, stride: int) -> Tensor:
    """Area mean over squares of `stride` pixels; rows beyond the last count as zero."""
    return x_BCHW if stride == 1 else functional.avg_pool2d(_pad_rows(x_BCHW, stride), stride)


def pool_probabilities(probabilities_BCHW: Tensor, valid_B1HW: Tensor, stride: int) -> Tensor:
    """Mean probabilities of the valid pixels of each square; zero where none is valid."""
    if stride == 1:
        return probabilities_BCHW * valid_B1HW
    share_B1hw = pool_mean(valid_B1HW, stride)
    return pool_mean(probabilities_BCHW * valid_B1HW, stride) / share_B1hw.clamp_min(torch.finfo(torch.float32).eps)


def _pad_rows(x_BCHW: Tensor, stride: int) -> Tensor:
    missing = -x_BCHW.shape[-2] % stride
    return functional.pad(x_BCHW, (0, 0, 0, missing)) if missing else x_BCHW
