"""How well a student predicts panoramas that it does not learn from, while it learns; and its best checkpoint by that.

<student>/
    best/              the student of the step with the best figure, complete like final/
    validation.json    all figures by step, what was held out, and which figure chose
    validation.png     the same as curves

Held out are some of `data.panoramas`. Those of `data.evaluation` choose nothing: a figure that is measured on panoramas
that chose the student flatters it. Where they have labels, their mIoU is shown beside the others.

Legend: C classes, H W panorama, h w the student's own resolution, N scored pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.arrays import BoolArray, FloatArray, ImageArray, LabelArray
from pipeline.cache.schema import ENSEMBLE
from pipeline.classes import IGNORE
from pipeline.errors import GoodSAMError, InputError, RecipeError
from pipeline.evaluate.metrics import ConfusionMatrix, labels_at
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.scores import corrected_purity
from stages.doubtful import scored_masks
from stages.events import silent
from stages.files import digest
from stages.measuring import without_ignored
from stages.reading import RunReader
from stages.splits import evaluation_panoramas
from stages.truth import label_files, open_truth, reading_of_labels

Predict = Callable[[ImageArray], FloatArray]
"""image_HW3 -> logits_Chw of the student as it is now."""
AGREEMENT, AGREEMENT_MIOU, PURITY, MIOU, SHOWN_MIOU = (
    "agreement", "agreement_miou", "purity", "miou", "evaluation_miou"
)  # fmt: skip
"""Figures, each 0..1: share of the reliable ensemble's pixels with its label, and mIoU against it; purity of SAM's
masks above chance; mIoU against labels of the panoramas held out, and of those of `data.evaluation`."""


class Validation(Protocol):
    """What a student is validated on."""

    @property
    def every(self) -> int:
        """Steps between validations; there is one after the last step, too."""
        ...

    @property
    def chosen_by(self) -> str:
        """The figure whose highest value makes a checkpoint the best."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names all that decides which checkpoint is the best."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it is measured on, for validation.json."""
        ...

    def measure(self, predict: Predict) -> dict[str, float]:
        """Figures by name.

        Raises:
            GoodSAMError: not one panorama can be used.
        """
        ...


@dataclass(frozen=True)
class RunValidation:
    """The panoramas that a run holds out of its training, and labelled ones of `data.evaluation` to show."""

    held_out: RunReader
    """Reads those held out."""
    every: int
    """See `Validation`."""
    labels: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Label files of those held out, by id."""
    shown: RunReader | None = None
    """Reads panoramas of `data.evaluation`; None where none are shown."""
    shown_labels: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Their label files, by id."""
    masks: dict[str, tuple[BoolArray, MaskPixels]] = field(
        default_factory=dict[str, tuple[BoolArray, MaskPixels]], repr=False, compare=False
    )
    """What purity is judged on, kept between validations."""

    @property
    def chosen_by(self) -> str:
        """See `Validation`."""
        return MIOU if self.labels else AGREEMENT_MIOU

    @property
    def fingerprint(self) -> str:
        """See `Validation`."""
        labels = sorted((panorama_id, digest(path)) for panorama_id, path in self.labels.items())
        reading = reading_of_labels(self.held_out.recipe) if labels else ()
        return fingerprint(self.every, self.chosen_by, self.held_out.content_fingerprint(), labels, *reading)

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Validation`."""
        return {"held_out": self.held_out.ids, "labelled": sorted(self.labels), "shown": sorted(self.shown_labels)}

    def measure(self, predict: Predict) -> dict[str, float]:
        """See `Validation`."""
        classes = len(self.held_out.recipe.classes)
        against_ensemble, against_labels = ConfusionMatrix(classes), ConfusionMatrix(classes)
        purities: list[float] = []
        for panorama_id, scores_Chw in _predictions(self.held_out, self.held_out.ids, predict):
            ensemble_HW, ignored_HW = self._reliable_ensemble(panorama_id)
            labels_HW = labels_at(scores_Chw, *ensemble_HW.shape)
            against_ensemble.add(ensemble_HW, labels_HW)
            purities.append(self._purity(panorama_id, labels_HW, ignored_HW))
            _add_truth(against_labels, self.labels, self.held_out, panorama_id, scores_Chw, ignored_HW)
        figures = {
            AGREEMENT: against_ensemble.accuracy,
            AGREEMENT_MIOU: against_ensemble.miou,
            PURITY: float(np.nanmean(purities)) if np.isfinite(purities).any() else math.nan,
            MIOU: against_labels.miou,
            SHOWN_MIOU: self._shown_miou(predict),
        }
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def _reliable_ensemble(self, panorama_id: str) -> tuple[LabelArray, BoolArray]:
        """E_H [H, W], IGNORE where it is blank or the panorama is ignored; and which pixels are ignored."""
        stored = self.held_out.read(ENSEMBLE, panorama_id, ("ensemble_labels", "reliability", "ignored"))
        ignored_HW = stored["ignored"].astype(np.bool_)
        known_HW = stored["reliability"].astype(np.bool_) & ~ignored_HW
        return np.where(known_HW, stored["ensemble_labels"], np.uint8(IGNORE)), ignored_HW

    def _purity(self, panorama_id: str, labels_HW: LabelArray, ignored_HW: BoolArray) -> float:
        if panorama_id not in self.masks:
            self.masks[panorama_id] = scored_masks(self.held_out, panorama_id, ignored_HW)
        scored_HW, masks = self.masks[panorama_id]
        return corrected_purity(masks.votes(labels_HW[scored_HW], len(self.held_out.recipe.classes)))

    def _shown_miou(self, predict: Predict) -> float:
        if self.shown is None:
            return math.nan
        matrix = ConfusionMatrix(len(self.shown.recipe.classes))
        for panorama_id, scores_Chw in _predictions(self.shown, sorted(self.shown_labels), predict):
            ignored_HW = self.shown.read(ENSEMBLE, panorama_id, ("ignored",))["ignored"].astype(np.bool_)
            _add_truth(matrix, self.shown_labels, self.shown, panorama_id, scores_Chw, ignored_HW)
        return matrix.miou


def _predictions(reader: RunReader, ids: Sequence[str], predict: Predict) -> Iterator[tuple[str, FloatArray]]:
    """Panorama and its scores, one after another.

    Raises:
        InputError: a picture cannot be read: figures of other panoramas could not be compared with earlier ones.
    """
    for panorama_id in ids:
        try:
            image_HW3 = reader.image(panorama_id)
        except GoodSAMError as error:
            found = f"{panorama_id}, on which the student is validated, cannot be read ({str(error).rstrip('.')})"
            raise InputError(found, "all steps must be measured on the same panoramas",
                             "Repair the file, and run `goodsam teacher-cache` and `goodsam distill` again"
                             ) from error  # fmt: skip
        yield panorama_id, predict(image_HW3)


def _add_truth(
    matrix: ConfusionMatrix,
    files: Mapping[str, Path],
    reader: RunReader,
    panorama_id: str,
    scores_Chw: FloatArray,
    ignored_HW: BoolArray,
) -> None:
    """Count a panorama against its labels, if it has any, at their own size."""
    truth = open_truth(files, reader, panorama_id)
    if truth is None:
        return
    matrix.add(without_ignored(truth, ignored_HW), labels_at(scores_Chw, *truth.shape))


def hold_out(reader: RunReader, count: int) -> tuple[RunReader, RunReader | None]:
    """Readers of the panoramas to learn from, and of `count` to validate on; None for none.

    Which are held out depends on the pictures' content alone, and on nothing else that depends on it; copies of one
    picture are held out together.

    Raises:
        RecipeError: none would be left to learn from.
    """
    if not count:
        return reader, None
    sources = {panorama_id: reader.records[panorama_id].sha256 for panorama_id in reader.ids}
    distinct = sorted(set(sources.values()), key=_order)
    if count >= len(distinct):
        found = f"distill.validation is {count}, and {len(distinct)} different panoramas are in the cache"
        raise RecipeError(found, "some must be left to train on", "Lower distill.validation")
    chosen = set(distinct[:count])
    held_out = [panorama_id for panorama_id, source in sources.items() if source in chosen]
    return reader.only_of([id_ for id_ in reader.ids if id_ not in held_out]), reader.only_of(held_out)


def _order(source: str) -> str:
    return hashlib.sha256(f"validation {source}".encode()).hexdigest()


def run_validation(recipe: Recipe, held_out: RunReader) -> RunValidation:
    """The validation of a run's student.

    Args:
        recipe: the run's.
        held_out: from `hold_out`.

    Raises:
        GoodSAMError: the folders of panoramas or labels cannot be read.
    """
    every, panoramas = recipe.distill.validate_every, evaluation_panoramas(recipe)
    files = label_files(recipe, panoramas, "distill", silent)  # `eval` tells of those that belong to no panorama
    if not recipe.data.evaluation:  # the labels are of the panoramas to learn from
        return RunValidation(held_out, every, {id_: path for id_, path in files.items() if id_ in held_out.paths})
    labelled = sorted(files.keys() & held_out.records.keys())[: recipe.distill.validation]
    shown = held_out.of(panoramas) if labelled else None
    return RunValidation(held_out, every, {}, shown, {id_: files[id_] for id_ in labelled})
