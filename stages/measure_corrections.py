"""How right ensemble and student are on corrections that the student has not learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE
from pipeline.errors import GoodSAMError, counted
from pipeline.evaluate.metrics import ConfusionMatrix, labels_at
from pipeline.recipe import Recipe
from stages.corrections import Correction, correction_reader
from stages.events import Listener, Note
from stages.files import write_whole
from stages.predictor import Predictor, load_predictor
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import all_panoramas, learning_panoramas
from stages.validation import hold_out

STAGE = "eval"
FILE = "corrections.json"


def measure_corrections(run: Run, student: Path | None, listener: Listener, device: str = "cpu") -> str:
    """Measure a run on the held-out corrections, at the working size; writes corrections.json into its evaluation.

    Args:
        run: recipe and folder.
        student: the student's folder, that of the ladder (`Evaluation.student`); None for none.
        listener: hears what is left out.
        device: torch device.

    Returns:
        A table for a terminal; empty where `data.corrections` is.

    Raises:
        InputError: a correction cannot be read.
        CacheError: there is no cache of this recipe, or the results cannot be written.
    """
    if not run.recipe.data.corrections:
        return ""
    reader = RunReader.open(run, all_panoramas(run.recipe))
    corrections = correction_reader(run.recipe, reader)
    corrected = {id_: found for id_ in reader.ids if (found := corrections.of(id_))}
    held_out = {id_: found for id_, found in corrected.items() if corrections.is_held_out(found)}
    unknown = len(corrections.corrections.by_source.keys() - {found.source for found in corrected.values()})
    if unknown:
        listener(
            Note(
                STAGE,
                f"{counted(unknown, 'correction')} left out: the cache does not have the picture, or it has changed",
            )
        )
    if not held_out:
        listener(Note(STAGE, f"none of {counted(len(corrected), 'corrected panorama')} is held out, so nothing is "
                             "measured on them: raise data.corrections_held_out or correct more"))  # fmt: skip
        return ""
    rungs = _measure(run.recipe, reader, held_out, load_predictor(student, device) if student else None)
    learned = (corrected.keys() - held_out.keys()) & _ids_of_training(run.recipe, reader)
    record = {"panoramas": len(held_out), "learned_from": len(learned),
              "rungs": {name: _record(matrix) for name, matrix in rungs.items()}}  # fmt: skip
    write_whole(run.evaluation / FILE, json.dumps(record, indent=1))
    return _table(record, run.evaluation / FILE)


def _ids_of_training(recipe: Recipe, reader: RunReader) -> frozenset[str]:
    """Panoramas that a student of the recipe is trained on: without those that it is validated on."""
    try:
        return frozenset(hold_out(reader.of(learning_panoramas(recipe)), recipe.distill.validation)[0].ids)
    except GoodSAMError:  # then `distill` cannot train one
        return frozenset()


def _measure(
    recipe: Recipe, reader: RunReader, held_out: Mapping[str, Correction], student: Predictor | None
) -> dict[str, ConfusionMatrix]:
    names = ("ensemble", "ensemble reliable", *(("student",) if student else ()))
    rungs = {name: ConfusionMatrix(len(recipe.classes)) for name in names}
    for panorama_id, correction in held_out.items():
        truth_HW = correction.on_canvas(recipe, reader.placement(panorama_id))
        teacher = reader.teacher(panorama_id)
        truth_HW = np.where(teacher.ignored_HW, np.uint8(IGNORE), truth_HW)
        found: dict[str, LabelArray] = {
            "ensemble": teacher.ensemble_HW,
            "ensemble reliable": np.where(teacher.reliable_HW, teacher.ensemble_HW, np.uint8(IGNORE)),
        }
        if student:
            found["student"] = labels_at(student(reader.image(panorama_id)), *truth_HW.shape)
        for name, labels_HW in found.items():
            rungs[name].add(truth_HW, labels_HW)
    return rungs


def _record(matrix: ConfusionMatrix) -> dict[str, Any]:
    figures = {"miou": matrix.miou, "pixel_accuracy": matrix.accuracy, "coverage": matrix.coverage}
    return {key: None if np.isnan(value) else float(value) for key, value in figures.items()}


def _table(record: Mapping[str, Any], path: Path) -> str:
    panoramas = record["panoramas"]
    lines = [f"On the corrections of {panoramas} panorama{'s' * (panoramas != 1)} that were not learned from ({path}):",
             f"{'rung':<20}{'mIoU, %':>10}{'pixels, %':>12}{'coverage, %':>14}"]  # fmt: skip
    for name, figures in record["rungs"].items():
        miou, pixels, coverage = ("" if value is None else f"{100 * value:.1f}" for value in figures.values())
        lines.append(f"{name:<20}{miou:>10}{pixels:>12}{coverage:>14}")
    return "\n".join(lines)
