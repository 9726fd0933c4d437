"""Validating a student between steps of its training: figures are told and drawn, and the best student is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from pipeline.errors import GoodSAMError
from pipeline.evaluate.curves import draw_curves
from stages.distill_job import DistillJob
from stages.events import Listener, Note, Scalars
from stages.files import write_picture, write_whole
from stages.predictor import StudentPredictor
from stages.progress import Progress
from stages.saved_student import write_student
from stages.trainee import TrainState
from stages.validation import Validation

STEP = "step"
"""Beside the figures, the step of a validation."""


def is_due(job: DistillJob, step: int) -> bool:
    """Whether the student is validated after `step` steps."""
    return job.validation is not None and (step % job.validation.every == 0 or step == job.distill.steps)


def validate(
    job: DistillJob, training: TrainState, size: tuple[int, int], progress: Progress, stage: str, listener: Listener
) -> Progress:
    """Measure the student as it is now; keep it where it is the best so far, and draw the curves.

    Nothing of the training depends on it: weights and random numbers stay what they are.

    Returns:
        The progress with these figures.

    Raises:
        GoodSAMError: the panoramas cannot be read, the student predicts NaN or infinity, or there is no room.
    """
    validation = job.validation
    if validation is None:
        return progress
    figures = _measure(job, training, validation)
    validated = [*progress.validated, {STEP: float(progress.steps), **figures}]
    progress = replace(progress, validated=validated)
    listener(Scalars(stage, progress.steps, {f"validation_{name}": value for name, value in figures.items()}))
    best = best_of(validated, validation.chosen_by)
    if best[STEP] == progress.steps:
        job.folder.keep_best(lambda folder: write_student(folder, job, training, size, progress))
    _write_curves(job, validation, validated, best)
    if progress.steps == job.distill.steps:
        listener(Note(stage, _told(validation, validated, best)))
    return progress


def best_of(validated: Sequence[Mapping[str, float]], chosen_by: str) -> Mapping[str, float]:
    """The first of the validations with the highest figure."""
    return max(validated, key=lambda figures: figures[chosen_by])


def _measure(job: DistillJob, training: TrainState, validation: Validation) -> dict[str, float]:
    student, is_training = training.student, training.student.training
    student.eval()
    try:
        figures = validation.measure(StudentPredictor(student, job.label_set, job.device))
    finally:
        student.train(is_training)
    if validation.chosen_by not in figures:
        raise GoodSAMError(f"{validation.chosen_by!r} cannot be measured on the panoramas held out",
                           "some of their pixels must be reliable in the ensemble, or labelled",
                           "Change distill.validation to hold out others")  # fmt: skip
    return figures


def _told(validation: Validation, validated: Sequence[Mapping[str, float]], best: Mapping[str, float]) -> str:
    last, name = validated[-1], validation.chosen_by
    figures = f"{name} {100 * best[name]:.1f} % after step {best[STEP]:.0f}, {100 * last[name]:.1f} % after the last"
    return (
        f"best on the panoramas held out: {figures}; `goodsam eval` measures the one that evaluation.checkpoint names"
    )


def _write_curves(
    job: DistillJob, validation: Validation, validated: Sequence[Mapping[str, float]], best: Mapping[str, float]
) -> None:
    record: dict[str, Any] = {"chosen_by": validation.chosen_by, "best_step": int(best[STEP]), **validation.facts,
                              "figures": [{**figures, STEP: int(figures[STEP])} for figures in validated]}  # fmt: skip
    write_whole(job.folder.path / "validation.json", json.dumps(record, indent=1))
    names = [name for name in validated[-1] if name != STEP]
    curves = {name: [(int(point[STEP]), point[name]) for point in validated if name in point] for name in names}
    picture = draw_curves(curves, int(best[STEP]), f"best {validation.chosen_by}")
    write_picture(job.folder.path / "validation.png", Image.fromarray(picture))
