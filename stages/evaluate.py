"""The evaluation of a run: its ladder is measured, and tables and pictures lie under the name of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet, label_set
from pipeline.errors import GoodSAMError
from pipeline.evaluate import report
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.labels import doubt_of_first_id, open_labels, survey_labels
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.student.model import start_student
from stages.claims import exclusive_lock
from stages.controls import RunControls
from stages.distill import distill_job, note_left_out
from stages.doubtful import Doubtful, most_doubtful, text_of, write_doubtful
from stages.equal_panoramas import learned_from_note
from stages.events import Listener, Note
from stages.files import digest
from stages.measuring import STAGE, EvaluateJob, measure
from stages.predictor import Predictor, StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.runs import EVALUATIONS, Run
from stages.splits import SplitPanorama, evaluation_panoramas, learning_panoramas
from stages.students import StudentFolder
from stages.turning import TurningPlan

VERSION = 2
"""Raised when the code changes what is measured."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    folder: Path
    """Has metrics.json, ladder.md, doubtful.md and overlays/."""
    metrics: dict[str, Any]
    """What metrics.json holds."""
    doubtful: Sequence[Doubtful] = ()
    """The panoramas that fit SAM's masks worst."""

    @property
    def table(self) -> str:
        """The ladder for a terminal, and the most doubtful panoramas."""
        doubtful = f"\n{text_of(self.doubtful)}" if self.doubtful else ""
        return f"{report.text_of(self.metrics)}{doubtful}"


def evaluate(run: Run, listener: Listener, *, device: str = "cpu") -> Evaluation:
    """Measure a run's ladder, and write tables and pictures.

    Where stage two has not finished the student of the recipe, stage one's rungs are measured, and a note says so.

    Args:
        run: recipe and folder.
        listener: hears the events.
        device: torch device.

    Raises:
        GoodSAMError: no panoramas or cache, a damaged student, another process at the same evaluation, or as `measure`.
    """
    panoramas = evaluation_panoramas(run.recipe)
    reader = RunReader.open(run, panoramas)
    note_left_out(STAGE, panoramas, reader.ids, listener)
    student = _find_student(run, reader, listener)
    labels = _labels(run.recipe, panoramas, listener)
    found_ids: set[int] = set()
    name = _fingerprint(run.recipe, reader, labels, student)
    job = EvaluateJob(
        ids=reader.ids,
        label_set=run.recipe.classes,
        out=run.cache / EVALUATIONS / name,
        open_image=reader.image,
        open_labels=partial(_open_label, labels, reader, found_ids),
        read_teacher=reader.teacher,
        read_masks=reader.mask_map,
        students=_students(run, student, device, listener),
        labels_by=run.recipe.data.labels_by,
        vertical_fov=run.recipe.panorama.vertical_fov,
        categories=run.recipe.categories,
        controls=_controls(reader, bool(labels), listener),
        turning=_turning(reader, device),
        overlays=run.recipe.evaluation.overlays,
        facts={"run": run.recipe.name, "student_name": student.folder.path.name if student else None,
               "student_is_of_this_recipe": student.is_of_this_recipe if student else None},
    )  # fmt: skip
    with exclusive_lock(job.out, STAGE, run.cache):
        run.record_recipe()
        metrics = measure(job, listener)
        measured = [panorama_id for panorama_id in reader.ids if panorama_id not in metrics["set_aside"]]
        doubtful = most_doubtful(reader, measured, STAGE, listener)
        write_doubtful(job.out, doubtful)
        run.record_evaluation(name)
    if (doubt := doubt_of_first_id(found_ids, _label_file_set(run.recipe))) and not run.recipe.data.labels_from_one:
        listener(Note(STAGE, doubt))
    return Evaluation(job.out, metrics, doubtful)


def _controls(reader: RunReader, has_labels: bool, listener: Listener) -> RunControls:
    """The controls of the recipe; those that cannot be computed here are reported."""
    controls = RunControls(reader)
    if controls.names and not has_labels:
        listener(Note(STAGE, "the controls are measured against labels, and there are none: set data.labels"))
    for name, reason in controls.skipped.items():
        listener(Note(STAGE, f"the control {name} is skipped: {reason}"))
    return controls


def _turning(reader: RunReader, device: str) -> TurningPlan:
    """How panoramas are turned; stage one's networks are loaded only where it is computed again."""
    stride, panoramas = reader.recipe.windows.stride_x, reader.recipe.evaluation.yaw_panoramas
    if not panoramas:
        return TurningPlan(stride)
    from stages.turned_panorama import TurnedStageOne

    return TurningPlan(stride, panoramas, TurnedStageOne(reader, device))


@dataclass(frozen=True)
class _FoundStudent:
    """A finished student to measure."""

    folder: StudentFolder
    is_of_this_recipe: bool | None
    """None where the panoramas to learn from are not at hand, so that nobody knows."""


def _find_student(run: Run, measured: RunReader, listener: Listener) -> _FoundStudent | None:
    """The student of the recipe; where that is not finished or nobody knows which it is, the run's latest one, telling
    so; None where there is none, which is reported."""
    latest = StudentFolder(run.student)
    try:
        learning = measured.of(learning_panoramas(run.recipe))
        _tell_learned_from(run, measured, learning, listener)
        own = distill_job(run, learning).folder
    except GoodSAMError:
        return _FoundStudent(latest, None) if latest.is_finished else _no_student(listener)
    if own.is_finished:
        return _FoundStudent(own, is_of_this_recipe=True)
    if not latest.is_finished:
        return _no_student(listener)
    listener(Note(STAGE, "the student was distilled with other settings or data than this run has now; "
                         "run distill for one of this recipe"))  # fmt: skip
    return _FoundStudent(latest, is_of_this_recipe=False)


def _no_student(listener: Listener) -> None:
    listener(Note(STAGE, "there is no finished student: only stage one is measured; run distill for one"))


def _tell_learned_from(run: Run, measured: RunReader, learning: RunReader, listener: Listener) -> None:
    """Say how many of the panoramas to measure on are learned from too, under whatever name."""
    if not run.recipe.data.evaluation:
        return
    learned = set(learning.sources())
    sources = measured.sources()
    if note := learned_from_note(sum(source in learned for source in sources), len(sources)):
        listener(Note(STAGE, note))


def _fingerprint(recipe: Recipe, reader: RunReader, labels: Mapping[str, Path], student: _FoundStudent | None) -> str:
    """Names an evaluation by what is measured: stage one's output, labels and student."""
    of_labels = {panorama_id: digest(path) for panorama_id, path in labels.items()}
    how = (recipe.data.labels_by, recipe.data.labels_from_one, _label_file_set(recipe).names)
    return fingerprint(VERSION, recipe.name, reader.content_fingerprint(), of_labels, how, recipe.evaluation,
                       student.folder.path.name if student else "")  # fmt: skip


def _labels(recipe: Recipe, panoramas: list[SplitPanorama], listener: Listener) -> Mapping[str, Path]:
    """Label file by id; those that belong to no panorama are reported."""
    if not recipe.data.labels:
        return {}
    plain = {p.id.partition("/")[2]: p for p in panoramas}
    files = [PanoramaFile(name, p.path) for name, p in plain.items()]
    found = survey_labels(Path(recipe.data.labels), files)
    if found.note and not recipe.data.limit:  # with a limit, most are of panoramas that were left out on purpose
        listener(Note(STAGE, f"{recipe.data.labels}: {found.note}"))
    return {plain[name].id: path for name, path in found.by_id.items()}


def _open_label(
    files: Mapping[str, Path], reader: RunReader, found_ids: set[int], panorama_id: str
) -> npt.NDArray[np.uint8] | None:
    recipe = reader.recipe
    if panorama_id not in files:
        return None
    return open_labels(files[panorama_id], recipe.classes, recipe.panorama, _label_file_set(recipe),
                       from_one=recipe.data.labels_from_one, found_ids=found_ids,
                       placement=reader.placement(panorama_id))  # fmt: skip


def _label_file_set(recipe: Recipe) -> LabelSet:
    return label_set(recipe.data.labels_set) if recipe.data.labels_set else recipe.classes


def _students(run: Run, student: _FoundStudent | None, device: str, listener: Listener) -> dict[str, Predictor]:
    students: dict[str, Predictor] = {}
    if run.recipe.evaluation.student_start:
        torch.manual_seed(run.recipe.student.seed)  # as stage two does: what the start lacks is then the same
        start = start_student(run.recipe.student, run.recipe.classes)
        if start.note:
            listener(Note(STAGE, start.note))
        model = start.model.to(device).eval()  # type: ignore[arg-type]
        students["student_start"] = StudentPredictor(model, run.recipe.classes, device)
    if student:
        students["student"] = load_predictor(student.folder.final, device)
    return students
