"""The work of the study: stage one, students and their confusion matrices, each done once and found again.

<out>/
    scenes/                  what is looked at
    cache/                   stage one's store and the students, as every cache
    cache-of-the-truth/      the same with the truth in the ensemble's place
    corrections/<n>/         true labels of n panoramas
    matrices/<of what>.npz   confusion matrix [N, C, C] of each rung, held-out panorama by panorama

Legend: N panoramas, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.ladder import Ladder, LadderInput
from pipeline.evaluate.metrics import LabelArray, best_class
from pipeline.evaluate.threshold import ConfidenceHistograms
from pipeline.student.model import start_student
from scripts.evidence.scenes import Scenes
from scripts.evidence.study import Variant
from scripts.evidence.tables import STUDENT
from scripts.evidence.truth import read_truth, truth_run, with_corrections, with_data
from scripts.measure_students import matrix_of, read
from stages.controls import RunControls
from stages.distill import distill
from stages.events import Event, ItemFailed, StageFinished
from stages.predictor import StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.rungs import teacher_rungs
from stages.runs import Run, open_run
from stages.splits import evaluation_panoramas
from stages.teacher_cache import teacher_cache

Matrices = dict[str, npt.NDArray[np.int64]]
"""Confusion matrices [N, C, C] by rung, rows = truth."""


@dataclass(frozen=True)
class Study:
    """Where the study works, and how much of it is done."""

    out: Path
    """Its folder."""
    scenes: Scenes
    """What it looks at."""
    workers: int = 2
    """Processes of stage one."""
    settings: tuple[str, ...] = ()
    """Settings of every variant, `key=value`: fewer steps for a quick study."""

    def run(self, variant: Variant, seed: int = 0, controls: tuple[str, ...] = ()) -> Run:
        """The run of a variant; its name says nothing, results lie under what made them."""
        scenes = self.scenes
        own = (f"data.panoramas={scenes.panoramas}", f"data.evaluation={scenes.held_out}", "data.labels=",
               f"evaluation.controls={list(controls)}", f"student.seed={seed}",
               f"name={slug(variant.name)}")  # fmt: skip
        return open_run("demo", self.out / "cache", (*own, *self.settings, *variant.settings))

    def stage_one(self, variant: Variant, controls: tuple[str, ...] = ()) -> tuple[Matrices, list[str]]:
        """Confusion matrices of stage one's rungs and of some controls, and the ids of the panoramas they are of.

        Raises:
            GoodSAMError: stage one fails.
        """
        run = self.run(variant, controls=controls)
        teacher_cache(run, tell, workers=self.workers)
        reader = RunReader.open(run, evaluation_panoramas(run.recipe))
        name = f"stage-one-{reader.content_fingerprint()}{''.join(f'-{control}' for control in controls)}"
        return self._once(name, lambda: self._measure_stage_one(reader)), list(reader.ids)

    def student(self, variant: Variant, seed: int) -> Matrices:
        """Confusion matrices of a variant's student, which is trained where it is missing.

        Raises:
            GoodSAMError: the training fails.
        """
        run = self._taught(variant, seed)
        final = distill(run, tell)
        taught_by = "truth-" if variant.taught_by == "truth" else ""
        return self._once(f"student-{taught_by}{final.parent.name}", lambda: self._measure(load_predictor(final)))

    def start(self) -> Matrices:
        """Confusion matrices of the student before it learns."""
        recipe = self.run(Variant("start")).recipe
        torch.manual_seed(0)
        model = start_student(recipe.student, recipe.classes).model.eval()
        start = StudentPredictor(model, recipe.classes, "cpu")
        return self._once("start", lambda: {"student_start": self._measure(start)[STUDENT]})

    def _taught(self, variant: Variant, seed: int) -> Run:
        """The run whose student a variant asks for, with what teaches it."""
        run, labels = self.run(variant, seed), self.scenes.labels
        if variant.taught_by == "both":
            return with_corrections(run, labels, variant.labelled, self.out / "corrections" / str(variant.labelled))
        if variant.taught_by == "truth":
            return with_data(truth_run(run, labels), limit=variant.labelled)
        return run

    def _once(self, name: str, measured: Callable[[], Matrices]) -> Matrices:
        """What was measured under a name before, or is now."""
        path = self.out / "matrices" / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez_compressed(partial, allow_pickle=False, **measured())
            partial.replace(path)
        with np.load(path) as arrays:
            return {rung: arrays[rung] for rung in arrays.files}

    def _measure_stage_one(self, reader: RunReader) -> Matrices:
        histograms, ladder = ConfidenceHistograms(len(reader.recipe.classes)), Ladder(len(reader.recipe.classes))
        controls = RunControls(reader)
        for panorama_id in reader.ids:
            teacher = reader.teacher(panorama_id)
            histograms.add(*best_class(teacher.assistant_CHW), ~teacher.ignored_HW)
        for panorama_id in reader.ids:
            truth_HW, teacher = self._truth(panorama_id), reader.teacher(panorama_id)
            rungs = teacher_rungs(teacher, histograms.thresholds(), *truth_HW.shape)
            rungs |= controls(panorama_id, reader.image(panorama_id), teacher, truth_HW)
            ladder.add(LadderInput(truth_HW, rungs))
        return {rung.name: ladder.matrices(rung.name) for rung in ladder.rungs()}

    def _measure(self, student: StudentPredictor) -> Matrices:
        pictures, labels = self.scenes.held_out, self.scenes.held_out_labels
        files = [(path, labels / path.relative_to(pictures)) for path in sorted(pictures.rglob("*.png"))]
        return {STUDENT: np.stack([matrix_of(student, *read(*pair)) for pair in files])}

    def _truth(self, panorama_id: str) -> LabelArray:
        return read_truth(self.scenes.held_out_labels, panorama_id)


def slug(name: str) -> str:
    """The name of a variant's run."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def tell(event: Event) -> None:
    """Print what a stage notes; one panorama less would make rows differ in what they are measured on.

    Raises:
        RuntimeError: a panorama was set aside.
    """
    if isinstance(event, ItemFailed):
        raise RuntimeError(f"{event.item}: {event.error}")
    if isinstance(event, StageFinished):
        print(f"{event.stage}: {event.seconds:.0f} s", flush=True)
