"""All that determines a student, and the name that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.classes import LabelSet
from pipeline.settings import fingerprint, without_unused
from pipeline.student.config import OPTIONAL_LOSSES, OPTIONAL_TRAINING, DistillConfig, LossConfig, StudentConfig
from pipeline.student.model import start_identity
from pipeline.student.sample import SampleReader
from stages.students import StudentFolder
from stages.validation import Validation

VERSION = 4
"""Raised when the code changes what a student learns, so that older students and checkpoints are not taken for it."""


@dataclass(frozen=True)
class DistillJob:
    """All that determines a student."""

    students: Path
    """Folder of all students; everything is written to this one's, below it."""
    ids: tuple[str, ...]
    """Panoramas to learn from, in an order that does not change between runs."""
    read_sample: SampleReader
    """Reads one of them."""
    data_fingerprint: str
    """Names what is learned from, in the order of the panoramas: stage one's output, not where it lies."""
    label_set: LabelSet
    """Classes of the student."""
    student: StudentConfig
    """The network."""
    losses: LossConfig
    """Weights of the losses."""
    distill: DistillConfig
    """Training."""
    seed: int
    """Seed of all that is random."""
    device: str = "cpu"
    """torch device."""
    corrections_fingerprint: str = ""
    """Names people's corrections that are learned from too; empty where there are none."""
    vertical_fov: float = 180.0
    """Vertical field of view of the panoramas, degrees: noted for those who predict with the student."""
    validation: Validation | None = None
    """What it is validated on while it learns, and its best checkpoint chosen by; None: it is not."""

    @cached_property
    def fingerprint(self) -> str:
        """Name of the student that comes out, however often progress is logged and saved, and wherever files lie."""
        own = self.student.size if self.student.kind == "segformer" else self.student.kind
        scale = (self.student.scale,) if self.student.scale != 1 else ()
        student = (own, start_identity(self.student, self.label_set), *scale)
        corrections = (self.corrections_fingerprint,) if self.corrections_fingerprint else ()
        validation = ({"validation": self.validation.fingerprint},) if self.validation else ()
        return fingerprint(VERSION, student, self.effective_losses, self.effective_training, self.seed,
                           self.label_set.names, self.data_fingerprint, *corrections, *validation)  # fmt: skip

    @property
    def effective_losses(self) -> dict[str, Any]:
        """The settings of the losses without those that have no effect on this student."""
        without = () if self.corrections_fingerprint else ("corrections",)
        settings = without_unused(self.losses, OPTIONAL_LOSSES)
        return {key: value for key, value in settings.items() if key not in without}

    @property
    def effective_training(self) -> dict[str, Any]:
        """The settings of the training, those without effect on the student at a fixed value, or left out."""
        usual = DistillConfig()
        training = replace(self.distill, log_every=1, checkpoint_every=1, sample_memory_gb=0,
                           validation=usual.validation, validate_every=usual.validate_every)  # fmt: skip
        return without_unused(training, OPTIONAL_TRAINING)

    @property
    def folder(self) -> StudentFolder:
        """Where checkpoints and the student go."""
        return StudentFolder(self.students / self.fingerprint)
