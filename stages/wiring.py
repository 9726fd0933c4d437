"""From a run to the jobs of its stages: what the command line and Python callers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet, label_set
from pipeline.errors import GoodSAMError
from pipeline.evaluate import report
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.labels import doubt_of_first_id, open_labels, survey_labels
from pipeline.recipe import Recipe
from pipeline.student.model import start_student
from stages.claims import claimed
from stages.distill import DistillJob, distill
from stages.equal_panoramas import learned_from_note
from stages.evaluate import EvaluateJob, evaluate
from stages.events import Listener, Note
from stages.predictor import Predictor, StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama, evaluation_panoramas, learning_panoramas


def _distill_job(run: Run, reader: RunReader, device: str) -> DistillJob:
    recipe = run.recipe
    return DistillJob(
        run_folder=run.folder,
        ids=reader.ids,
        read_sample=reader.sample_reader,
        data_fingerprint=reader.content_fingerprint(),
        label_set=recipe.classes,
        student=recipe.student,
        losses=recipe.losses,
        distill=recipe.distill,
        seed=recipe.seed,
        device=device,
        vertical_fov=recipe.panorama.vertical_fov,
    )


def distill_run(run: Run, listener: Listener, *, device: str = "cpu") -> Path:
    """Train the student of a run, or go on with it; returns its folder.

    Raises:
        GoodSAMError: no panoramas, no cache of this recipe, another distill at work, or as `distill`.
    """
    learning = learning_panoramas(run.recipe)
    job = _distill_job(run, RunReader.open(run, learning), device)
    with claimed(run.student, "distill"):
        run.record_recipe()
        _tell_left_out("distill", learning, job.ids, listener)
        return distill(job, listener)


def _tell_left_out(stage: str, wanted: Sequence[SplitPanorama], cached: Sequence[str], listener: Listener) -> None:
    if left_out := len(wanted) - len(cached):
        listener(Note(stage, f"{left_out} of {len(wanted)} panoramas are not in the cache and are left out"))


def evaluate_run(run: Run, listener: Listener, *, device: str = "cpu") -> str:
    """Measure a run's ladder, write tables and pictures into <run>/eval, and return the table for a terminal.

    Where stage two has not finished a student, stage one's rungs are measured and that is told.

    Raises:
        GoodSAMError: no panoramas or cache, a damaged student, another eval at work, or as `evaluate`.
    """
    panoramas = evaluation_panoramas(run.recipe)
    reader = RunReader.open(run, panoramas)
    _tell_left_out("eval", panoramas, reader.ids, listener)
    found_ids: set[int] = set()
    job = EvaluateJob(
        ids=reader.ids,
        label_set=run.recipe.classes,
        out=run.evaluation,
        open_image=reader.image,
        open_labels=partial(_open_label, _labels(run.recipe, panoramas, listener), reader, found_ids),
        read_teacher=reader.teacher,
        read_masks=reader.mask_map,
        students=_students(run, device, listener),
        labels_by=run.recipe.data.labels_by,
        vertical_fov=run.recipe.panorama.vertical_fov,
        categories=run.recipe.categories,
        overlays=run.recipe.evaluation.overlays,
        facts={"run": run.recipe.name, "student_is_of_this_recipe": _student_is_current(run, reader, listener)},
    )
    with claimed(run.evaluation, "eval"):
        run.record_recipe()
        metrics = evaluate(job, listener)
    if (doubt := doubt_of_first_id(found_ids, _label_file_set(run.recipe))) and not run.recipe.data.labels_from_one:
        listener(Note("eval", doubt))
    return report.text_of(metrics)


def _student_is_current(run: Run, reader: RunReader, listener: Listener) -> bool | None:
    """Whether the student that lies in the run is what its recipe and cache would give now, telling if it is not; None
    where there is none, which is told, or where the panoramas to learn from are not at hand."""
    if not _has_student(run):
        listener(Note("eval", "there is no finished student: only stage one is measured; run distill for one"))
        return None
    try:
        learning = reader.of(learning_panoramas(run.recipe))
        _tell_learned_from(run, reader, learning, listener)
        current = _distill_job(run, learning, "cpu").folder.is_finished
    except GoodSAMError:
        return None
    if not current:
        listener(Note("eval", "the student was distilled with other settings or data than this run has now; "
                              "run distill for one of this recipe"))  # fmt: skip
    return current


def _tell_learned_from(run: Run, measured: RunReader, learning: RunReader, listener: Listener) -> None:
    """Say how many of the panoramas to measure on are learned from too, under whatever name."""
    if not run.recipe.data.evaluation:
        return
    learned = set(learning.sources())
    sources = measured.sources()
    if note := learned_from_note(sum(source in learned for source in sources), len(sources)):
        listener(Note("eval", note))


def _labels(recipe: Recipe, panoramas: list[SplitPanorama], listener: Listener) -> Mapping[str, Path]:
    """Label file by id in the store; those that belong to no panorama are told."""
    if not recipe.data.labels:
        return {}
    plain = {p.id.partition("/")[2]: p for p in panoramas}
    files = [PanoramaFile(name, p.path) for name, p in plain.items()]
    found = survey_labels(Path(recipe.data.labels), files)
    if found.note and not recipe.data.limit:  # with a limit, most are of panoramas that were left out on purpose
        listener(Note("eval", f"{recipe.data.labels}: {found.note}"))
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


def _students(run: Run, device: str, listener: Listener) -> dict[str, Predictor]:
    students: dict[str, Predictor] = {}
    if run.recipe.evaluation.student_start:
        torch.manual_seed(run.recipe.seed)  # as stage two does: what the start lacks is then the same
        start = start_student(run.recipe.student, run.recipe.classes)
        if start.note:
            listener(Note("eval", start.note))
        model = start.model.to(device).eval()  # type: ignore[arg-type]
        students["student_start"] = StudentPredictor(model, run.recipe.classes, device)
    if _has_student(run):
        students["student"] = load_predictor(run.student / "final", device)
    return students


def _has_student(run: Run) -> bool:
    return (run.student / "final").is_dir()
