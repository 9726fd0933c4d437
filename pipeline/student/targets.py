"""Targets on the student's device: codes decoded to probabilities, counts of pixels to weights.

Legend: B batch, C classes, D feature channels, H W panorama or crop, h w the losses' resolution (H / stride, rounded
up).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.student.data import TrainingBatch
from pipeline.student.model import STRIDE
from pipeline.student.pooling import decode


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
    """1 where the features belong to the image as the student sees it, else 0."""
    corrected_Bhw: Tensor | None = None
    """Class ids (int64) where people have corrected the ensemble, IGNORE elsewhere; None for no corrections."""


def make_targets(batch: TrainingBatch) -> MkaTargets:
    """Decode a batch; ignored pixels enter no mean."""
    squared = batch.stride**2
    return MkaTargets(
        assistant_BChw=decode(batch.assistant_BChw),
        ensemble_BChw=decode(batch.ensemble_BChw),
        reliable_Bhw=batch.reliable_Bhw.float() / squared,
        valid_Bhw=batch.valid_Bhw.float() / squared,
        boundary_Bhw=batch.boundary_Bhw.float(),
        boundary_valid_Bhw=batch.boundary_valid_Bhw.float() / STRIDE**2,
        features=batch.features,
        features_known_B=(~batch.mirrored_B).float(),
        corrected_Bhw=None if batch.corrected_Bhw is None else batch.corrected_Bhw.long(),
    )
