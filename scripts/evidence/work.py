"""The work of the study: stage one, students and their confusion matrices, each done once and found again.

<out>/
    scenes/                  what is looked at
    cache/                   stage one's store and the students, as every cache
    cache-of-the-truth/      the same with the truth in the ensemble's place
    corrections/<n>/         true labels of n panoramas
    recipes/<command>.toml   what adapt and tune make of the demo's recipe, <command>-<settings>.toml with settings,
                             adapt-<settings>-after-<rounds>.toml of several rounds
    seconds/<of what>.json   of stage one
    matrices/<of what>.npz   confusion matrix [N, C, C] of each rung, held-out panorama by panorama

Legend: N panoramas, C classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.ladder import Ladder, LadderInput
from pipeline.evaluate.metrics import LabelArray, best_class
from pipeline.evaluate.threshold import ConfidenceHistograms
from pipeline.settings import fingerprint
from pipeline.student.model import start_identity, start_student
from scripts.evidence.scenes import Scenes
from scripts.evidence.study import DEFAULT, Variant
from scripts.evidence.tables import STUDENT, STUDENT_START
from scripts.evidence.timing import seconds_of_stage_one
from scripts.evidence.truth import read_truth, truth_run, with_corrections, with_data
from scripts.measure_students import matrix_of, read
from stages.adapt import STAGE as ADAPT
from stages.adapt import adapt
from stages.controls import RunControls
from stages.distill import distill, distill_job
from stages.events import Event, ItemFailed, StageFinished
from stages.predictor import StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.rungs import teacher_rungs
from stages.runs import Run, open_run
from stages.splits import evaluation_panoramas, learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.tune import tune
from stages.tuned_recipe import write_recipe

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
    tune_minutes: float = 600
    """Time that `goodsam tune` may take; usually it needs a fraction."""

    def run(self, variant: Variant, seed: int = 0, controls: tuple[str, ...] = ()) -> Run:
        """The run of a variant; its name says nothing, results lie under what made them."""
        scenes = self.scenes
        folder, names = scenes.to_learn_from(variant.learn_from) if variant.learn_from else (scenes.panoramas, [])
        own = (f"data.panoramas={folder}", f"data.panoramas_only={json.dumps(names)}",
               f"data.evaluation={scenes.held_out}", "data.labels=",
               f"evaluation.controls={list(controls)}", f"student.seed={seed}",
               f"name={slug(variant.name)}")  # fmt: skip
        recipe = str(self._recipe_file(variant)) if variant.made_by else "demo"
        return open_run(recipe, self.out / "cache", (*own, *self.settings, *variant.settings))

    def stage_one(
        self, variant: Variant, controls: tuple[str, ...] = (), only_held_out: bool = False
    ) -> tuple[Matrices, list[str]]:
        """Confusion matrices of stage one's rungs and of some controls, and the ids of the panoramas they are of.

        Args:
            variant: what is measured.
            controls: as `evaluation.controls`.
            only_held_out: go without the panoramas to learn from, where no student will learn.

        Raises:
            GoodSAMError: stage one fails.
        """
        self.make_recipe(variant)
        if variant.learn_from:
            self.scenes.render_to_learn_from(variant.learn_from, self.workers)
        run = self.run(variant, controls=controls)
        if only_held_out:
            run = with_data(run, panoramas=str(self.scenes.held_out.absolute()), evaluation="")
        teacher_cache(run, tell, workers=self.workers)
        reader = RunReader.open(run, evaluation_panoramas(run.recipe))
        name = f"stage-one-{reader.content_fingerprint()}{''.join(f'-{control}' for control in controls)}"
        return self._once(name, lambda: self._measure_stage_one(reader)), list(reader.ids)

    def seconds(self, variant: Variant) -> float:
        """Seconds of one processor that stage one takes for a panorama.

        Raises:
            GoodSAMError: as `stage_one`.
        """
        self.make_recipe(variant)
        return seconds_of_stage_one(self.run(variant), self.out / "seconds")

    def make_recipe(self, variant: Variant) -> None:
        """Let a variant's command write its recipe, where that has not been done.

        Raises:
            GoodSAMError: the command fails.
        """
        file = self._recipe_file(variant)
        if not variant.made_by or file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        own = replace(variant, name=f"before {variant.name}", settings=variant.made_with, made_by="")
        run = self.run(own if variant.made_with else DEFAULT)
        if variant.made_by == "tune":
            tune(run, tell, file, minutes=self.tune_minutes)
            return
        teacher_cache(run, tell, workers=self.workers)
        rounds = adapt(run, tell, self._recipe_file(replace(variant, rounds=1)), rounds=variant.rounds,
                       workers=self.workers)  # fmt: skip
        if not file.exists():  # of several rounds, or worse by what needs no label: measured all the same
            write_recipe(file, rounds[-1].recipe, ADAPT, rounds[-1].verdict)

    def about(self, variant: Variant) -> str:
        """What the command that has made a variant's recipe says of it; empty where none has."""
        return self._recipe_file(variant).read_text().partition("\n")[0].lstrip("# ") if variant.made_by else ""

    def _recipe_file(self, variant: Variant) -> Path:
        own = f"-{fingerprint(variant.made_with)}" if variant.made_with else ""
        own += f"-after-{variant.rounds}" if variant.rounds > 1 else ""
        return self.out / "recipes" / f"{variant.made_by}{own}.toml"

    def student(self, variant: Variant, seed: int) -> Matrices:
        """Confusion matrices of a variant's student, which is trained unless it has been measured before.

        Raises:
            GoodSAMError: the training fails.
        """
        run = self._taught(variant, seed)
        job = distill_job(run, RunReader.open(run, learning_panoramas(run.recipe)))
        taught_by = "truth-" if variant.taught_by == "truth" else ""
        return self._once(f"student-{taught_by}{job.fingerprint}",
                          lambda: self._measure(load_predictor(distill(run, tell))))  # fmt: skip

    def start(self, variant: Variant = DEFAULT) -> Matrices:
        """Confusion matrices of a variant's student before it learns."""
        recipe = self.run(variant).recipe
        torch.manual_seed(0)
        model = start_student(recipe.student, recipe.classes).model.eval()
        start = StudentPredictor(model, recipe.classes, "cpu")
        begins_with = start_identity(recipe.student, recipe.classes) or recipe.student.size
        seen = fingerprint(begins_with, recipe.student.scale)
        return self._once(f"start-{seen}", lambda: {STUDENT_START: self._measure(start)[STUDENT]})

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
