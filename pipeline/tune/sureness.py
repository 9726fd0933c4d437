"""Which groups of perspective views show the assistant what it knows, told without labels by how sure it is of them.

A network that is shown what it was not trained on is less sure. The whole image shows the same things as every group,
so the two are compared at the same pixels, as two outputs of one network: a group whose views make it less sure than
the whole image does, by more than the standard error over panoramas, is left out. Purity alone does not tell: masks
that join a tree's crown with the sky between its branches reward views that see a solid tree.

Legend: C classes, N pixels that are scored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from pipeline.arrays import AnyFloatArray
from pipeline.teacher.blending import certainty
from pipeline.tune.blends import SeenPart
from pipeline.tune.parts import GROUPS, WHOLE


@dataclass(frozen=True)
class Sureness:
    """How sure the assistant is of what each group of views sees of one panorama.

    It is 1 - entropy / log C on average over pixels by the views' weights, 0..1; groups that see no scored pixel are
    missing.
    """

    of_group: Mapping[str, float]
    """From the group's own views."""
    of_whole: Mapping[str, float]
    """From the whole image, at the same pixels."""


def sureness(seen: Mapping[str, SeenPart], weights_N: AnyFloatArray) -> Sureness:
    """How sure the assistant is of one panorama.

    Args:
        seen: the whole image and groups of views, by their kind, at the scored pixels.
        weights_N: solid angle of these pixels.
    """
    of_whole_N = certainty(seen[WHOLE].probabilities_CN)
    own: dict[str, float] = {}
    whole: dict[str, float] = {}
    for group in (group for group in GROUPS if group in seen):
        of_views_N = seen[group].weights_N * weights_N
        if of_views_N.any():
            own[group] = float(np.average(certainty(seen[group].probabilities_CN), weights=of_views_N))
            whole[group] = float(np.average(of_whole_N, weights=of_views_N))
    return Sureness(own, whole)


class Comparison(NamedTuple):
    """How sure the assistant is of what one group sees, on average over panoramas."""

    views: float
    """From the group's own views."""
    whole: float
    """From the whole image, at the same pixels."""
    error: float
    """Standard error of their difference over panoramas; infinite for a single one, which tells nothing of others."""

    @property
    def is_less_sure(self) -> bool:
        """Whether the views make it less sure than the whole image, by more than noise."""
        return self.views - self.whole < -self.error


def compare(of_panoramas: Sequence[Sureness]) -> dict[str, Comparison]:
    """Every group that sees something, over all panoramas of which it does."""
    found: dict[str, Comparison] = {}
    for group in GROUPS:
        views = [sure.of_group[group] for sure in of_panoramas if group in sure.of_group]
        whole = [sure.of_whole[group] for sure in of_panoramas if group in sure.of_group]
        if views:
            differences = [ours - theirs for ours, theirs in zip(views, whole, strict=True)]
            error = stdev(differences) / math.sqrt(len(views)) if len(views) > 1 else math.inf
            found[group] = Comparison(fmean(views), fmean(whole), error)
    return found


def less_sure(groups: Mapping[str, Comparison]) -> tuple[str, ...]:
    """The groups that may have no weight."""
    return tuple(group for group, compared in groups.items() if compared.is_less_sure)
