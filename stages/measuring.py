"""Measuring every rung of the ladder on some panoramas, and writing tables and pictures.

<cache>/evaluations/<fingerprint>/
    metrics.json       everything that was measured
    ladder.md          the same as tables: the ladder, IoU per class and category, cost of the students, agreement of
                       the rungs, their seam and yaw stability, class shares
    overlays/<id>.png  panorama, assistant, masks, ensemble, student and truth side by side

Panoramas are taken one at a time, twice: first for the thresholds of the baseline.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.accelerator import device_errors
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import DeviceError, InputError, WeightsError
from pipeline.evaluate import report
from pipeline.evaluate.categories import Categories
from pipeline.evaluate.class_changes import changes_record, class_changes
from pipeline.evaluate.consensus import Consensus
from pipeline.evaluate.ladder import RUNGS, Ladder, LadderInput
from pipeline.evaluate.metrics import LabelArray, best_class, labels_at, resize_nearest
from pipeline.evaluate.overlay import Scene, comparison, scene_panels
from pipeline.evaluate.threshold import ConfidenceHistograms
from stages.controls import RunControls
from stages.events import Listener, StageAdvanced, StageFinished, StageStarted, failure, silent
from stages.files import named_after_panorama, put_in_place, write_picture, write_whole, writing
from stages.predictor import Predictor
from stages.rungs import TeacherArrays, teacher_rungs
from stages.turning import Turned, TurningPlan, YawTest

# C classes, H W working size of the panorama.

STAGE = "eval"
_MASKS_STEP = ("assistant_blend", "ensemble")
"""The rungs before and after SAM's masks, compared class by class."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class EvaluateJob:
    """What to measure; arrays come from callables, so that only one panorama is held."""

    ids: Sequence[str]
    """Evaluation panoramas."""
    label_set: LabelSet
    """Classes that are measured."""
    out: Path
    """Folder of the results."""
    open_image: Callable[[str], npt.NDArray[np.uint8]]
    """Id -> RGB image [H, W, 3] at the working size."""
    open_labels: Callable[[str], LabelArray | None]
    """Id -> labels at their own size, or None."""
    read_teacher: Callable[[str], TeacherArrays]
    """Id -> stage one's arrays."""
    read_masks: Callable[[str], npt.NDArray[np.integer]]
    """Id -> map of SAM's masks [H, W], -1 where there is none, for the pictures."""
    students: Mapping[str, Predictor]
    """Rung ("student", "student_start") -> student."""
    overlays: int
    """Number of panoramas for which pictures are made, the first ones."""
    facts: Mapping[str, Any]
    """What else goes into metrics.json (recipe, name of the run)."""
    labels_by: str = "people"
    """Who made the labels, people or a network; see DataConfig."""
    vertical_fov: float = 180.0
    """Vertical field of view of the panoramas, degrees."""
    categories: Categories | None = None
    """Coarser categories that are measured too."""
    controls: RunControls | None = None
    """Further rungs to compare with, where there are labels; None: there are none."""
    turning: TurningPlan | None = None
    """How panoramas are turned, to tell how stable results are; None: they are not."""


def measure(job: EvaluateJob, listener: Listener = silent) -> dict[str, Any]:
    """Measure, write, and return what metrics.json holds; `report.text_of` makes a table of it.

    Raises:
        InputError: not one panorama could be measured.
        WeightsError: a student predicts other classes than are measured, or NaN or infinity.
        CacheError: results cannot be written.
    """
    started = time.monotonic()
    _require_same_classes(job)
    listener(StageStarted(STAGE, 2 * len(job.ids), "panoramas"))  # in each of the two passes
    evaluation = _Evaluation(job, listener)
    evaluation.find_thresholds()
    evaluation.measure()
    _require_some(job.ids, evaluation.failed)
    metrics = evaluation.write()
    facts = {"panoramas": evaluation.consensus.images, "labelled": evaluation.ladder.images}
    listener(StageFinished(STAGE, time.monotonic() - started, facts | {"set aside": len(evaluation.failed)}))
    return metrics


def _require_same_classes(job: EvaluateJob) -> None:
    for rung, student in job.students.items():
        if student.label_set.names != job.label_set.names:
            raise WeightsError(
                f"{rung} predicts the {len(student.label_set)} classes of {student.label_set.name}",
                f"the {len(job.label_set)} of {job.label_set.name} are measured",
                "Measure a student of the same label set",
            )


def _require_some(ids: Sequence[str], failed: Mapping[str, str]) -> None:
    if len(failed) == len(ids):
        first = f"; the first error: {next(iter(failed.values())).rstrip('.')}" if failed else ""
        raise InputError(
            f"none of {len(ids)} panoramas could be measured",
            f"at least one must be usable{first}",
            "Repair the files, or name other panoramas",
        )


def without_ignored(labels: LabelArray, ignored_HW: npt.NDArray[np.bool_]) -> LabelArray:
    """Labels [h, w] that are IGNORE where the recipe ignores the image (rig, nadir): no rung is measured there.

    Benchmarks are not touched by it: their recipes ignore nothing of the image.
    """
    kept = labels.copy()
    kept[resize_nearest(ignored_HW, *labels.shape)] = IGNORE
    return kept


class _Evaluation:
    """The two passes over the panoramas and what they gather."""

    def __init__(self, job: EvaluateJob, listener: Listener) -> None:
        classes = len(job.label_set)
        self.job = job
        self.listener = listener
        self.ladder = Ladder(classes, job.vertical_fov, job.categories)
        self.consensus = Consensus(classes, job.vertical_fov)
        self.histograms = ConfidenceHistograms(classes)
        self.yaw = YawTest(job.turning, job.students) if job.turning else None
        self.seconds: dict[str, list[float]] = {rung: [] for rung in job.students}
        self.failed: dict[str, str] = {}
        self._done = 0
        self._pictures = job.out / "overlays.partial"

    def find_thresholds(self) -> None:
        """First pass: the confidence of the assistant over the whole set."""
        for id_ in self.job.ids:
            self._try(id_, self._count_confidence)

    def measure(self) -> None:
        """Second pass: every rung on every panorama, and the pictures of the first ones."""
        self._begin_pictures()
        for id_ in self.job.ids:
            picture = self._try(id_, self._measure)
            if picture is not None:
                self._write_picture(id_, picture)

    def _begin_pictures(self) -> None:
        shutil.rmtree(self._pictures, ignore_errors=True)
        with writing(self._pictures):
            self._pictures.mkdir(parents=True)

    def _write_picture(self, id_: str, picture: npt.NDArray[np.uint8]) -> None:
        """Write a picture; go without where its name cannot be had, for the panorama is measured all the same."""
        name = f"{id_}.png"
        try:
            with named_after_panorama():
                write_picture(self._pictures / name, Image.fromarray(picture))
        except InputError as error:
            self.listener(failure(STAGE, f"overlays/{name}", error))

    def _try(self, id_: str, work: Callable[[str], Result]) -> Result | None:
        """Do the work unless the panorama was set aside; set it aside if it cannot be used."""
        began = time.monotonic()
        result = None
        if id_ not in self.failed:
            try:
                with device_errors("take a smaller student"):
                    result = work(id_)
            except (DeviceError, WeightsError):
                raise
            except Exception as error:  # one panorama must not stop a long run; the log has the traceback
                event = failure(STAGE, id_, error)
                self.failed[id_] = event.error
                self.listener(event)
        self._done += 1
        self.listener(StageAdvanced(STAGE, self._done, id_, time.monotonic() - began))
        return result

    def _count_confidence(self, id_: str) -> None:
        teacher = self.job.read_teacher(id_)
        self.histograms.add(*best_class(teacher.assistant_CHW), ~teacher.ignored_HW)

    def _measure(self, id_: str) -> npt.NDArray[np.uint8] | None:
        """Count one panorama and return its picture, if one is wanted.

        All is computed before anything is counted: a panorama counts wholly or not at all. (One that fails here has
        counted in the thresholds of the baseline.)
        """
        image, labels = self.job.open_image(id_), self.job.open_labels(id_)
        teacher = self.job.read_teacher(id_)
        if teacher.ignored_HW.all():
            raise InputError("all of it is ignored", "something must be visible", "Take it out of the folder")
        if labels is not None:
            labels = without_ignored(labels, teacher.ignored_HW)
        size = image.shape[:2] if labels is None else labels.shape
        predictions = dict(self._predictions(image, teacher, *size))
        if labels is not None:
            predictions |= self._controls(id_, image, teacher, labels)
        turned = self._turned(id_, image, teacher, predictions)
        picture = self._picture(id_, image, teacher, predictions, labels)
        self._count(id_, predictions, labels, teacher)
        if self.yaw and turned:
            self.yaw.add(turned)
        return picture

    def _turned(
        self,
        id_: str,
        image_HW3: npt.NDArray[np.uint8],
        teacher: TeacherArrays,
        predictions: Mapping[str, LabelArray],
    ) -> Turned | None:
        if self.yaw is None:
            return None
        number, thresholds_C = self.consensus.images, self.histograms.thresholds()
        return self.yaw.turn(id_, image_HW3, teacher, predictions, number, thresholds_C)

    def _predictions(
        self, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays, height: int, width: int
    ) -> Iterator[tuple[str, LabelArray]]:
        """Rung and labels at the truth's size."""
        yield from teacher_rungs(teacher, self.histograms.thresholds(), height, width).items()
        for rung, student in self.job.students.items():
            began = time.perf_counter()
            scores = student(image_HW3)
            self.seconds[rung].append(time.perf_counter() - began)
            yield rung, labels_at(scores, height, width)

    def _controls(
        self, id_: str, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays, labels: LabelArray
    ) -> dict[str, LabelArray]:
        """Name and labels, at the truth's size, of the controls."""
        if self.job.controls is None:
            return {}
        truth_HW = resize_nearest(labels, *teacher.ignored_HW.shape)
        found = self.job.controls(id_, image_HW3, teacher, truth_HW)
        return {name: resize_nearest(labels_HW, *labels.shape) for name, labels_HW in found.items()}

    def _count(
        self, id_: str, predictions: Mapping[str, LabelArray], labels: LabelArray | None, teacher: TeacherArrays
    ) -> None:
        if labels is not None:
            self.ladder.add(LadderInput(labels, predictions, id_))
        size = next(iter(predictions.values())).shape
        agreement = resize_nearest(teacher.agreement_HW, *size)
        rungs = {rung: labels_HW for rung, labels_HW in predictions.items() if rung in RUNGS}
        self.consensus.add(rungs, agreement, ~resize_nearest(teacher.ignored_HW, *size))

    def _picture(
        self, id_: str, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays,
        predictions: Mapping[str, LabelArray], labels: LabelArray | None,
    ) -> npt.NDArray[np.uint8] | None:  # fmt: skip
        if self.consensus.images >= self.job.overlays:
            return None
        job = self.job
        scene = Scene(
            image_HW3,
            assistant_HW=predictions.get("assistant_blend"),
            masks_HW=job.read_masks(id_),
            ensemble_HW=predictions.get("ensemble"),
            reliable_HW=teacher.reliable_HW | teacher.ignored_HW,
            student_HW=predictions.get("student"),
            truth_HW=labels,
            labels_by=job.labels_by,
        )
        return comparison(scene_panels(scene, job.label_set), job.label_set, title=id_)

    def write(self) -> dict[str, Any]:
        """Write metrics.json and ladder.md, and put the pictures in the place of an earlier evaluation's; return the
        former."""
        job, summary = self.job, self.consensus.summary()
        metrics: dict[str, Any] = {
            **job.facts,
            "label_set": job.label_set.name,
            "images": summary.images,
            "labelled": self.ladder.images,
            "labels_by": job.labels_by,
            **({"categories": job.categories.record(job.label_set)} if job.categories else {}),
            "ladder": [report.rung_record(rung, job.label_set) for rung in self.ladder.rungs()],
            **self._class_changes(),
            **({"skipped_controls": job.controls.skipped} if job.controls else {}),
            **{rung: self._student_record(rung) for rung in job.students},
            "agreement": report.consensus_record(summary, job.label_set),
            **({"yaw": self.yaw.record()} if self.yaw else {}),
            "thresholds": dict(zip(job.label_set.names, self.histograms.thresholds().tolist(), strict=True)),
            "panoramas": [
                {"id": id_, "rungs": {rung: asdict(figures) for rung, figures in rungs.items()}}
                for id_, rungs in self.ladder.panoramas
            ],
            "set_aside": self.failed,
        }
        write_whole(job.out / "metrics.json", report.to_json(metrics))
        write_whole(job.out / "ladder.md", report.markdown_of(metrics, job.label_set))
        with writing(job.out / "overlays"):
            put_in_place(self._pictures, job.out / "overlays")
        return metrics

    def _class_changes(self) -> dict[str, Any]:
        """What the masks change, class by class; nothing without labels."""
        if not self.ladder.images:
            return {}
        before, after = (self.ladder.matrices(rung) for rung in _MASKS_STEP)
        return {"class_changes": changes_record(*_MASKS_STEP, class_changes(self.job.label_set.names, before, after))}

    def _student_record(self, rung: str) -> dict[str, Any]:
        student = self.job.students[rung]
        milliseconds = 1000 * statistics.median(self.seconds[rung])
        return {
            "parameters": student.parameters,
            "milliseconds_per_panorama": round(milliseconds, 2),
            "device": student.device,
        }
