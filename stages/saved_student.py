"""A student as it is written: the network, where it comes from, and its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipeline.student.model import save_student
from stages.distill_job import DistillJob
from stages.model_card import write_model_card
from stages.progress import Progress
from stages.trainee import TrainState
from stages.training_record import RECORD


def write_student(
    folder: Path, job: DistillJob, training: TrainState, size: tuple[int, int], progress: Progress
) -> None:
    """Write the student as it is now into a folder, to be put in its place by who asks.

    Args:
        folder: is there, and empty.
        job: what made it.
        training: the network.
        size: (height, width) of the panoramas that it has learned from.
        progress: how far the training is.
    """
    save_student(training.student, folder, size)
    (folder / RECORD).write_text(json.dumps(_record(job, training, size, progress), indent=2), encoding="utf-8")
    write_model_card(folder)


def _record(job: DistillJob, training: TrainState, size: tuple[int, int], progress: Progress) -> Mapping[str, Any]:
    last = progress.validated[-1:]
    validation = {"validation": {"held_out": len(job.validation.facts["held_out"]), **last[0]}} if (
        job.validation and last and last[0]["step"] == progress.steps) else {}  # fmt: skip
    return {
        "fingerprint": job.fingerprint, "steps": progress.steps, "losses": progress.losses,
        "parameters": sum(p.numel() for p in training.student.parameters()), "panoramas": len(job.ids),
        "panoramas_set_aside": progress.set_aside, "data": job.data_fingerprint, "label_set": job.label_set.name,
        "working_size": list(size), "vertical_fov": job.vertical_fov,
        "seed": job.seed, "device": job.device, "torch": torch.__version__, **validation,
        "settings": {"student": asdict(job.student), "losses": asdict(job.losses),
                     "distill": asdict(job.distill)},
    }  # fmt: skip
