"""Judging blends of one panorama by what needs no label, and the mean over panoramas.

Legend: C classes, N pixels that are scored, S sampled pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import numpy as np

from pipeline.arrays import AnyFloatArray, FloatArray, LabelArray
from pipeline.tune.blends import Blend, SeenPart, mix
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.scores import (
    corrected_agreement,
    corrected_purity,
    effective_classes,
    mano,
    purity,
    soft_neighbourhood_density,
)

ROLL_DEGREES = 157.5
"""Yaw by which panoramas are rolled: seven sixteenths of a turn. Windows and views an eighth of a turn apart come to be
half-way between where they were, and whole columns move."""
_ROLL_SHARE = 0.2
"""Share of the roll agreement in the score. Alone it does not tell good blends from bad: the whole image rolls best,
and what is wrong everywhere rolls, too. Measured: scripts/measure_tune.py."""
_SAMPLE = 512
"""Pixels of soft neighbourhood density."""


@dataclass(frozen=True)
class Judgement:
    """Scores of one blend, on one panorama or as the mean over several; higher is better."""

    purity: float
    """Share of the masks' pixels that have their mask's most frequent class, 0..1."""
    corrected_purity: float
    """Purity corrected for chance: 0 for one class everywhere, 1 at best."""
    roll: float
    """Agreement of the prediction with that of the rolled panorama, corrected for chance (kappa)."""
    views: float
    """Agreement of overlapping windows and views, weighted as in the blend, 0..1, for comparison; NaN where none
    overlap."""
    classes: float
    """Effective number of classes in the masks."""
    mano: float
    """MaNo, for comparison."""
    snd: float
    """Soft neighbourhood density, for comparison."""

    @property
    def score(self) -> float:
        """What settings are chosen by, at most 1; 0 for one class everywhere."""
        return (1 - _ROLL_SHARE) * self.corrected_purity + _ROLL_SHARE * self.roll


@dataclass(frozen=True, eq=False)
class JudgedPanorama:
    """What blends of one panorama are judged by."""

    masks: MaskPixels
    """SAM's."""
    weights_N: AnyFloatArray
    """Solid angle of the scored pixels."""
    classes: int
    """C."""
    cosines_N: AnyFloatArray
    """Cosine of the pixels' latitude."""

    def judge(
        self,
        blend: Blend,
        straight: Mapping[str, SeenPart],
        rolled: Mapping[str, SeenPart],
        agreements: Mapping[str, float],
    ) -> Judgement:
        """Judge one blend.

        Args:
            blend: its weights.
            straight: its parts by their kind, at the scored pixels.
            rolled: those of the rolled panorama, rolled back.
            agreements: mean agreement of each part's overlapping views; NaN where none do.
        """
        probabilities_CN = mix(blend, straight, self.cosines_N)
        labels_N = _best(probabilities_CN)
        votes_MC = self.masks.votes(labels_N, self.classes)
        rolled_N = self.labels(blend, rolled)
        return Judgement(
            purity=purity(votes_MC),
            corrected_purity=corrected_purity(votes_MC),
            roll=corrected_agreement(labels_N, rolled_N, self.classes, self.weights_N),
            views=_agreement_of_views(blend, agreements),
            classes=effective_classes(votes_MC),
            mano=mano(probabilities_CN),
            snd=soft_neighbourhood_density(probabilities_CN[:, self._sample()]),
        )

    def labels(self, blend: Blend, seen: Mapping[str, SeenPart]) -> LabelArray:
        """What a blend says of the scored pixels, as `judge` has it."""
        return _best(mix(blend, seen, self.cosines_N))

    def _sample(self) -> np.ndarray:
        """Pixels that are spread evenly over the sphere."""
        reached_N = np.cumsum(self.weights_N, dtype=np.float64)
        return np.searchsorted(reached_N, (np.arange(_SAMPLE) + 0.5) / _SAMPLE * reached_N[-1])


def mean_judgement(judgements: Sequence[Judgement]) -> Judgement:
    """The mean of every score over panoramas; those that are NaN do not count."""
    means: dict[str, float] = {}
    for field in fields(Judgement):
        values = [value for j in judgements if not math.isnan(value := getattr(j, field.name))]
        means[field.name] = fmean(values) if values else float("nan")
    return Judgement(**means)


def _best(probabilities_CN: FloatArray) -> LabelArray:
    """The most probable class of each pixel, the lowest on ties."""
    labels_N, highest_N = np.zeros(probabilities_CN.shape[1], np.uint8), probabilities_CN[0].copy()
    for class_id, of_class_N in enumerate(probabilities_CN[1:], start=1):  # quicker than argmax over the first axis
        labels_N[of_class_N > highest_N] = class_id
        np.maximum(highest_N, of_class_N, out=highest_N)
    return labels_N


def _agreement_of_views(blend: Blend, agreements: Mapping[str, float]) -> float:
    """Mean of the parts' agreements by their weight; groups of views share theirs."""
    of_groups = blend.weight_of
    shares = {group: blend.views * weight / sum(of_groups.values()) for group, weight in of_groups.items()}
    weights = {"windows": blend.windows} | shares
    known = {part: weight for part, weight in weights.items() if weight > 0 and not math.isnan(agreements[part])}
    total = sum(known.values())
    return sum(weight * agreements[part] for part, weight in known.items()) / total if total else float("nan")
