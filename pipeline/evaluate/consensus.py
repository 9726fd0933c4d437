"""Figures that need no labels: coverage, class shares, and agreement of predictions with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE
from pipeline.evaluate.ladder import in_ladder_order, require_same_rungs
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, solid_angles


@dataclass(frozen=True)
class ConsensusSummary:
    """Figures that need no labels; all shares are of solid angle, 0..1."""

    images: int
    coverage: dict[str, float]
    """Rung -> share of the valid area that has a prediction."""
    class_shares: dict[str, tuple[float, ...]]
    """Rung -> share of each class in the covered area."""
    pairwise: dict[tuple[str, str], float]
    """Two rungs -> share of the area covered by both where their labels are equal."""
    window_agreement: float
    """Mean agreement A of the assistant's windows; nan if it was not given."""
    seam: dict[str, float] = field(default_factory=dict[str, float])
    """Rung -> share of the rows whose label differs between the last column and the first, which are neighbours on the
    sphere; of rows where both are valid and covered."""
    neighbours: dict[str, float] = field(default_factory=dict[str, float])
    """Rung -> the same for neighbouring columns inside the picture, mean over all of them: the value expected at the
    seam."""


@dataclass
class _Mean:
    """A running weighted mean."""

    total: float | npt.NDArray[np.float64] = 0.0
    weight: float = 0.0

    def add(self, mean: float | npt.NDArray[np.float64], weight: float) -> None:
        if weight > 0:
            self.total += np.multiply(mean, weight)
            self.weight += weight

    @property
    def value(self) -> float:
        return float(self.total / self.weight) if self.weight > 0 else float("nan")

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(float(v) for v in np.atleast_1d(self.total / self.weight)) if self.weight > 0 else ()


@dataclass
class Consensus:
    """Compares rungs with each other, panorama by panorama; all panoramas weigh the same per solid angle."""

    classes: int
    vertical_fov: float = FULL_SPHERE_DEGREES
    images: int = 0
    _coverage: dict[str, _Mean] = field(default_factory=dict[str, _Mean])
    _shares: dict[str, _Mean] = field(default_factory=dict[str, _Mean])
    _pairs: dict[tuple[str, str], _Mean] = field(default_factory=dict[tuple[str, str], _Mean])
    _windows: _Mean = field(default_factory=_Mean)
    _seam: dict[str, _Mean] = field(default_factory=dict[str, _Mean])
    _neighbours: dict[str, _Mean] = field(default_factory=dict[str, _Mean])

    def add(
        self,
        predictions: Mapping[str, LabelArray],
        agreement_HW: npt.NDArray[np.floating] | None = None,
        valid_HW: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one panorama: predictions [H, W] by rung, the windows' agreement, and the pixels that count, of which
        there must be one.

        Raises:
            ValueError: the rungs are not those of the panoramas before.
        """
        names = in_ladder_order(predictions)
        if self.images:
            require_same_rungs(self._coverage, names)
        height, width = predictions[names[0]].shape
        area_HW = np.broadcast_to(solid_angles(height, width, self.vertical_fov)[:, None], (height, width))
        area_HW = area_HW if valid_HW is None else area_HW * valid_HW
        for position, name in enumerate(names):
            self._add_rung(name, predictions[name], area_HW)
            self._add_seam(name, predictions[name], valid_HW)
            for other in names[position + 1 :]:
                self._add_pair((name, other), predictions[name], predictions[other], area_HW)
        if agreement_HW is not None:
            self._windows.add(float(np.vdot(area_HW, agreement_HW)) / float(area_HW.sum()), float(area_HW.sum()))
        self.images += 1

    def _add_rung(self, name: str, prediction: LabelArray, area_HW: npt.NDArray[np.float64]) -> None:
        areas = np.bincount(prediction.ravel(), area_HW.ravel(), minlength=256)
        covered, whole = float(areas[: self.classes].sum()), float(area_HW.sum())
        self._coverage.setdefault(name, _Mean()).add(covered / whole, whole)
        self._shares.setdefault(name, _Mean()).add(areas[: self.classes] / max(covered, 1e-12), covered)

    def _add_seam(self, name: str, prediction: LabelArray, valid_HW: npt.NDArray[np.bool_] | None) -> None:
        counts_HW = prediction != IGNORE
        counts_HW = counts_HW if valid_HW is None else counts_HW & valid_HW
        seam, inside = self._seam.setdefault(name, _Mean()), self._neighbours.setdefault(name, _Mean())
        ends = [-1, 0]
        seam.add(*_share_of_changes(prediction[:, ends], counts_HW[:, ends]))
        inside.add(*_share_of_changes(prediction, counts_HW))

    def _add_pair(
        self, pair: tuple[str, str], first: LabelArray, second: LabelArray, area_HW: npt.NDArray[np.float64]
    ) -> None:
        both = area_HW * ((first != IGNORE) & (second != IGNORE))
        weight = float(both.sum())
        self._pairs.setdefault(pair, _Mean()).add(float(both[first == second].sum()) / max(weight, 1e-12), weight)

    def summary(self) -> ConsensusSummary:
        """Means over all panoramas added."""
        return ConsensusSummary(
            images=self.images,
            coverage={name: mean.value for name, mean in self._coverage.items()},
            class_shares={name: mean.values for name, mean in self._shares.items()},
            pairwise={pair: mean.value for pair, mean in self._pairs.items()},
            window_agreement=self._windows.value,
            seam={name: mean.value for name, mean in self._seam.items()},
            neighbours={name: mean.value for name, mean in self._neighbours.items()},
        )


def _share_of_changes(labels_HW: LabelArray, counts_HW: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(share of pixels whose right neighbour has another label, share of pixels for which both count)."""
    both = counts_HW[:, :-1] & counts_HW[:, 1:]
    differing = both & (labels_HW[:, :-1] != labels_HW[:, 1:])
    found = int(both.sum())
    return int(differing.sum()) / max(found, 1), found / max(both.size, 1)
