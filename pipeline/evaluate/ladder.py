"""The ladder: the accuracy of each step of the method, from the assistant alone to the student, on the same pixels.

Rungs, in order (method: "What to report"):

    assistant_whole       the assistant on the whole panorama at once
    assistant_1_blend     with several assistants, S_TA^w of the first alone, of the second, ...
    assistant_blend       S_TA^w: windows, perspective views and the whole image, blended (mean of several assistants)
    assistants_agree      S_TA^w where as many of several assistants agree as fusion.agree asks for (0: all)
    confidence_threshold  the baseline of domain adaptation: confident pixels of S_TA^w (the stronger of the two
                          assistants, so the harder baseline), see `threshold`
    ensemble              E: SAM's masks painted with their winning label
    ensemble_reliable     E_H: E where M = 1; read it with its coverage
    student_start         the student before distillation
    student               the student

`Ladder` measures against labels; figures that need none are in `consensus`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import LabelArray
from pipeline.evaluate.bootstrap import miou_interval
from pipeline.evaluate.categories import Categories
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES, solid_angles
from pipeline.teacher.config import MOST_FURTHER

OWN_BLENDS = tuple(f"assistant_{number}_blend" for number in range(1, 2 + MOST_FURTHER))
"""Rungs of each of several assistants alone."""
RUNGS = (
    "assistant_whole",
    *OWN_BLENDS,
    "assistant_blend",
    "assistants_agree",
    "confidence_threshold",
    "ensemble",
    "ensemble_reliable",
    "student_start",
    "student",
)
"""Names in the order of the ladder; predictions of other names follow in their own order."""


def in_ladder_order(names: Iterable[str]) -> list[str]:
    """Known rungs in the order of the ladder, then others as they came."""
    return sorted(names, key=lambda name: RUNGS.index(name) if name in RUNGS else len(RUNGS))


@dataclass(frozen=True)
class CategoryFigures:
    """Accuracy of one rung with classes merged into coarser categories, from the same counts as its IoU."""

    miou: float
    """Mean IoU over the categories that occur, 0..1, of the covered pixels; nan if nothing was covered."""
    miou_solid_angle: float
    """The same with pixels weighted by their solid angle."""
    per_category_iou: Mapping[str, float]
    """IoU by category, nan for those that do not occur."""
    pixel_accuracy: float
    """Share of the covered pixels that have the label's category; nan if nothing was covered."""


@dataclass(frozen=True)
class Rung:
    """Accuracy of one step on all labelled panoramas together."""

    name: str
    miou: float
    """Mean IoU over the classes that occur, 0..1, of the covered pixels; nan if nothing was covered."""
    miou_solid_angle: float
    """The same with pixels weighted by their solid angle."""
    per_class_iou: tuple[float, ...]
    """IoU per class, nan for classes that do not occur."""
    coverage: float
    """Share of the labelled pixels that have a prediction."""
    pixel_accuracy: float
    """Share of the covered pixels that have the label's class; nan if nothing was covered."""
    miou_interval: tuple[float, float] = (math.nan, math.nan)
    """95 % interval of `miou` over the choice of panoramas (`bootstrap`); nan for a single panorama."""
    categories: CategoryFigures | None = None
    """The same for coarser categories; None unless they are measured."""


@dataclass(frozen=True)
class LadderInput:
    """One labelled panorama: truth and predictions of the same size, IGNORE where a prediction covers nothing."""

    labels_HW: LabelArray
    predictions: Mapping[str, LabelArray]
    """Name of the rung -> class ids [H, W]."""
    name: str = ""
    """The panorama's id."""


@dataclass(frozen=True)
class PanoramaFigures:
    """Accuracy of one rung on one panorama."""

    miou: float
    """Mean IoU over the classes that occur there, 0..1; nan if nothing was covered."""
    pixel_accuracy: float
    """Share of the covered pixels that have the label's class; nan if nothing was covered."""


class Ladder:
    """Measures rungs against labels, panorama by panorama.

    Args:
        classes: number of classes.
        vertical_fov: vertical field of view of the panoramas, degrees.
        categories: coarser categories that are measured too.
    """

    def __init__(
        self, classes: int, vertical_fov: float = FULL_SPHERE_DEGREES, categories: Categories | None = None
    ) -> None:
        self.classes = classes
        self.categories = categories
        self.vertical_fov = vertical_fov
        self.images = 0
        self.panoramas: list[tuple[str, dict[str, PanoramaFigures]]] = []
        """Name of each panorama, in the order of adding, with its figures by rung."""
        self._matrices: dict[str, list[npt.NDArray[np.int64]]] = {}
        self._pixels: dict[str, ConfusionMatrix] = {}
        self._solid: dict[str, ConfusionMatrix] = {}

    def add(self, panorama: LadderInput) -> None:
        """Count one panorama.

        Raises:
            ValueError: its rungs differ from those of earlier panoramas, so that rungs would be measured on different
                pixels; or as `ConfusionMatrix.add`.
        """
        if self.images == 0:
            self._start(panorama.predictions)
        require_same_rungs(self._pixels, panorama.predictions)
        weights = solid_angles(*panorama.labels_HW.shape, self.vertical_fov)
        figures: dict[str, PanoramaFigures] = {}
        for name, prediction in panorama.predictions.items():
            own = ConfusionMatrix(self.classes)
            own.add(panorama.labels_HW, prediction)
            self._pixels[name].include(own)
            self._matrices[name].append(own.matrix)
            self._solid[name].add(panorama.labels_HW, prediction, weights)
            figures[name] = PanoramaFigures(own.miou, own.accuracy)
        self.panoramas.append((panorama.name, figures))
        self.images += 1

    def _start(self, names: Iterable[str]) -> None:
        for name in in_ladder_order(names):
            self._pixels[name] = ConfusionMatrix(self.classes)
            self._matrices[name] = []
            self._solid[name] = ConfusionMatrix(self.classes, weighted=True)

    def rungs(self) -> list[Rung]:
        """The rungs in order; none if no panorama was added."""
        return [self._rung(name) for name in self._pixels]

    def matrices(self, name: str) -> npt.NDArray[np.int64]:
        """Confusion matrix [N, C, C] of a rung for each panorama, in the order of adding; rows = truth.

        Raises:
            KeyError: there is no such rung.
        """
        return np.stack(self._matrices[name])

    def _rung(self, name: str) -> Rung:
        pixels = self._pixels[name]
        iou = tuple(float(value) for value in pixels.per_class_iou)
        interval = miou_interval(self.matrices(name))
        solid = self._solid[name]
        coarse = None if self.categories is None else category_figures(pixels, solid, self.categories)
        return Rung(name, pixels.miou, solid.miou, iou, pixels.coverage, pixels.accuracy, interval, coarse)


def category_figures(pixels: ConfusionMatrix, solid: ConfusionMatrix, categories: Categories) -> CategoryFigures:
    """The figures of categories from the counts per class, of pixels and of solid angle."""
    coarse = pixels.merged(categories.of_class)
    iou = dict(zip(categories.names, map(float, coarse.per_class_iou), strict=True))
    return CategoryFigures(coarse.miou, solid.merged(categories.of_class).miou, iou, coarse.accuracy)


def measure_ladder(
    panoramas: Iterable[LadderInput], classes: int, vertical_fov: float = FULL_SPHERE_DEGREES
) -> list[Rung]:
    """Rungs of labelled panoramas, which are taken one at a time."""
    ladder = Ladder(classes, vertical_fov)
    for panorama in panoramas:
        ladder.add(panorama)
    return ladder.rungs()


def require_same_rungs(known: Iterable[str], found: Iterable[str]) -> None:
    """Refuse a panorama whose rungs differ from those of the panoramas before.

    Raises:
        ValueError: they do.
    """
    if set(known) != set(found):
        raise ValueError(f"rungs are {sorted(found)}; the panoramas before had {sorted(known)}")
