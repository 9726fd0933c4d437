"""The evaluation of a run: its ladder is measured, and tables and pictures lie under the name of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import GoodSAMError, InputError
from pipeline.evaluate import report
from pipeline.panorama.labels import doubt_of_first_id
from pipeline.pretrained import network_name
from pipeline.recipe import EvalConfig, Recipe
from pipeline.settings import fingerprint
from pipeline.student.model import start_student
from stages.claims import exclusive_lock
from stages.controls import RunControls
from stages.corrections import find_corrections
from stages.distill import distill_job, note_left_out
from stages.doubtful import Doubtful, most_doubtful, text_of, write_doubtful
from stages.equal_panoramas import learned_from_note
from stages.evaluate_job import STAGE, EvaluateJob
from stages.events import Listener, Note
from stages.files import digest
from stages.measuring import measure
from stages.predictor import Predictor, StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.runs import EVALUATIONS, Run
from stages.splits import evaluation_panoramas, learning_panoramas
from stages.students import StudentFolder, record_of
from stages.truth import label_file_set, label_files, open_truth
from stages.turning import TurningPlan
from stages.validation import hold_out

VERSION = 2
"""Raised when the code changes what is measured."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    folder: Path
    """Has metrics.json, ladder.md, doubtful.md and overlays/."""
    metrics: dict[str, Any]
    """What metrics.json holds."""
    student: Path | None = None
    """Folder of the student that was measured; None for none."""
    doubtful: Sequence[Doubtful] = ()
    """The panoramas that deserve the most doubt."""
    corrections: str = ""
    """Table of the held-out corrections (`measure_corrections`); empty where there are none."""

    @property
    def table(self) -> str:
        """The ladder for a terminal, the most doubtful panoramas, and the corrections."""
        doubtful = f"\n{text_of(self.doubtful)}" if self.doubtful else ""
        return "\n\n".join(filter(None, (f"{report.text_of(self.metrics)}{doubtful}", self.corrections)))


def evaluate(run: Run, listener: Listener, *, device: str = "cpu") -> Evaluation:
    """Measure a run's ladder, and write tables and pictures.

    Where stage two has not finished the student of the recipe, stage one's rungs are measured, and a note says so.

    Args:
        run: recipe and folder.
        listener: hears the events.
        device: torch device.

    Raises:
        GoodSAMError: no panoramas or cache, a damaged student, a folder of corrections that cannot be used, another
            process at the same evaluation, or as `measure`.
    """
    find_corrections(run.recipe.data.corrections)  # measured last: a wrong folder is refused now
    panoramas = evaluation_panoramas(run.recipe)
    reader = RunReader.open(run, panoramas)
    note_left_out(STAGE, panoramas, reader.ids, listener)
    student = _find_student(run, reader, listener)
    labels = label_files(run.recipe, panoramas, STAGE, listener)
    found_ids: set[int] = set()
    name = _fingerprint(run.recipe, reader, labels, student)
    job = EvaluateJob(
        ids=reader.ids,
        label_set=run.recipe.classes,
        out=run.cache / EVALUATIONS / name,
        open_image=reader.image,
        open_labels=partial(open_truth, labels, reader, found_ids=found_ids),
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
               "student_is_of_this_recipe": student.is_of_this_recipe if student else None,
               **_checkpoint(run.recipe, student), **_assistants(run.recipe)},
    )  # fmt: skip
    with exclusive_lock(job.out, STAGE, run.cache):
        run.record_recipe()
        metrics = measure(job, listener)
        measured = [panorama_id for panorama_id in reader.ids if panorama_id not in metrics["set_aside"]]
        doubtful = most_doubtful(reader, measured, metrics.get("doubt", {}), STAGE, listener)
        write_doubtful(job.out, doubtful)
        run.record_evaluation(name)
    if (doubt := doubt_of_first_id(found_ids, label_file_set(run.recipe))) and not run.recipe.data.labels_from_one:
        listener(Note(STAGE, doubt))
    return Evaluation(job.out, metrics, student and _measured_folder(run.recipe, student.folder), doubtful)


def _controls(reader: RunReader, has_labels: bool, listener: Listener) -> RunControls:
    """The controls of the recipe; those that cannot be computed here are reported."""
    controls = RunControls(reader)
    if controls.names and not has_labels:
        listener(Note(STAGE, "controls are skipped: they are measured against labels, and data.labels is empty"))
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
                         "`goodsam distill` trains one of this recipe"))  # fmt: skip
    return _FoundStudent(latest, is_of_this_recipe=False)


def _no_student(listener: Listener) -> None:
    listener(Note(STAGE, "there is no finished student: only stage one is measured; `goodsam distill` trains one"))


def _tell_learned_from(run: Run, measured: RunReader, learning: RunReader, listener: Listener) -> None:
    """Say how many of the panoramas to measure on are learned from too, or chose the checkpoint, under whatever
    name."""
    learning, held_out = hold_out(learning, run.recipe.distill.validation)
    learned, sources = set(learning.sources()), measured.sources()
    if run.recipe.data.evaluation and (
        note := learned_from_note(sum(source in learned for source in sources), len(sources))
    ):
        listener(Note(STAGE, note))
    chose = set(held_out.sources()) if held_out and run.recipe.evaluation.checkpoint == "best" else set[str]()
    if number := sum(source in chose for source in sources):
        listener(Note(STAGE, f"the student's best checkpoint was chosen on {number} of the {len(sources)} panoramas to "
                             "measure on: their figures flatter it"))  # fmt: skip


def _fingerprint(recipe: Recipe, reader: RunReader, labels: Mapping[str, Path], student: _FoundStudent | None) -> str:
    """Names an evaluation by what is measured: stage one's output, labels and student."""
    of_labels = {panorama_id: digest(path) for panorama_id, path in labels.items()}
    how = [recipe.data.labels_by, recipe.data.labels_from_one, label_file_set(recipe).names]
    if recipe.data.labels_index:
        how.append(digest(Path(recipe.data.labels_index)))
    settings = asdict(recipe.evaluation)
    if settings["checkpoint"] == EvalConfig().checkpoint:  # it came later
        del settings["checkpoint"]
    return fingerprint(VERSION, recipe.name, reader.content_fingerprint(), of_labels, how, settings,
                       student.folder.path.name if student else "")  # fmt: skip


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
        students["student"] = load_predictor(_measured_folder(run.recipe, student.folder), device)
    return students


def _measured_folder(recipe: Recipe, student: StudentFolder) -> Path:
    """The folder of the checkpoint that `evaluation.checkpoint` names.

    Raises:
        InputError: it is the best, and the student was not validated.
    """
    if recipe.evaluation.checkpoint == "last":
        return student.final
    if not student.best.is_dir():
        raise InputError(f"evaluation.checkpoint is 'best', but the student {student.path} was not validated",
                         "the best checkpoint is chosen during training",
                         "Set distill.validation and run `goodsam distill`, or set evaluation.checkpoint = 'last'"
                         )  # fmt: skip
    return student.best


def _assistants(recipe: Recipe) -> dict[str, Any]:
    """Names of several assistants, for metrics.json."""
    if not recipe.further_assistants:
        return {}
    return {"assistants": ["demo" if one.kind == "demo" else network_name(one.name) for one in recipe.assistants]}


def _checkpoint(recipe: Recipe, student: _FoundStudent | None) -> dict[str, Any]:
    """Which checkpoint is measured, for metrics.json."""
    if student is None:
        return {}
    folder = _measured_folder(recipe, student.folder)
    steps = [record_of(path).get("steps") for path in (folder, student.folder.final)]
    return {"student_checkpoint": {"kind": recipe.evaluation.checkpoint, "step": steps[0], "of": steps[1]}}
