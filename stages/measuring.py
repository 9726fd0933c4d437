"""Measuring every rung of the ladder on some panoramas, and writing tables and pictures.

<cache>/evaluations/<fingerprint>/
    metrics.json       everything that was measured
    ladder.md          the same as tables: the ladder, IoU per class and category, cost of the students, agreement of
                       the rungs, their seam and yaw stability, class shares
    ladder.svg         the ladder with its intervals, where there are labels and matplotlib is installed
    overlays/<id>.png  panorama, assistant, masks, ensemble, student and truth side by side

Panoramas are taken one at a time, twice: first for the thresholds of the baseline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.accelerator import device_errors
from pipeline.classes import IGNORE
from pipeline.errors import DeviceError, InputError, WeightsError
from pipeline.evaluate import report
from pipeline.evaluate.indices import confidence, doubt
from pipeline.evaluate.metrics import LabelArray, best_class, labels_at, resize_nearest
from pipeline.evaluate.overlay import Scene, comparison, scene_panels
from pipeline.panorama.sphere import solid_angles
from stages import ladder_chart
from stages.evaluate_job import STAGE, EvaluateJob
from stages.evaluation_pictures import EvaluationPictures
from stages.evaluation_tally import EvaluationTally
from stages.events import Listener, StageAdvanced, StageFinished, StageStarted, failure, silent
from stages.files import write_whole
from stages.ladder_chart import can_draw, ladder_svg
from stages.rungs import TeacherArrays, teacher_rungs
from stages.task_reports import require_some_done
from stages.turning import Turned

Result = TypeVar("Result")


def measure(job: EvaluateJob, listener: Listener = silent) -> dict[str, Any]:
    """Measure, write, and return what metrics.json holds; `report.text_of` makes a table of it.

    Raises:
        InputError: not one panorama could be measured.
        WeightsError: a student predicts other classes than are measured, or NaN or infinity.
        CacheError: results cannot be written.
    """
    started = time.monotonic()
    job.require_same_classes()
    listener(StageStarted(STAGE, 2 * len(job.ids), "panoramas"))  # in each of the two passes
    evaluation = _Evaluation(job, listener)
    evaluation.find_thresholds()
    evaluation.measure()
    require_some_done(len(job.ids), evaluation.tally.failed, "measured")
    metrics, tally = evaluation.write(), evaluation.tally
    facts = {"panoramas": tally.consensus.images, "labelled": tally.ladder.images}
    listener(StageFinished(STAGE, time.monotonic() - started, facts | {"set aside": len(tally.failed)}))
    return metrics


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
        self.job = job
        self.listener = listener
        self.tally = EvaluationTally(job)
        self.pictures = EvaluationPictures(job.out, listener)
        self._done = 0

    def find_thresholds(self) -> None:
        """First pass: the confidence of the assistant over the whole set."""
        for id_ in self.job.ids:
            self._try(id_, self._count_confidence)

    def measure(self) -> None:
        """Second pass: every rung on every panorama, and the pictures of the first ones."""
        self.pictures.begin()
        for id_ in self.job.ids:
            picture = self._try(id_, self._measure)
            if picture is not None:
                self.pictures.add(id_, picture)

    def _try(self, id_: str, work: Callable[[str], Result]) -> Result | None:
        """Do the work unless the panorama was set aside; set it aside if it cannot be used."""
        began = time.monotonic()
        result = None
        if id_ not in self.tally.failed:
            try:
                with device_errors("take a smaller student"):
                    result = work(id_)
            except (DeviceError, WeightsError):
                raise
            except Exception as error:  # one panorama must not stop a long run; the log has the traceback
                event = failure(STAGE, id_, error)
                self.tally.failed[id_] = event.error
                self.listener(event)
        self._done += 1
        self.listener(StageAdvanced(STAGE, self._done, id_, time.monotonic() - began))
        return result

    def _count_confidence(self, id_: str) -> None:
        teacher = self.job.read_teacher(id_)
        self.tally.histograms.add(*best_class(teacher.assistant_CHW), ~teacher.ignored_HW)

    def _measure(self, id_: str) -> npt.NDArray[np.uint8] | None:
        """Count one panorama and return its picture, if one is wanted.

        All is computed before anything is counted: a panorama counts wholly or not at all. (One that fails here has
        counted in the thresholds of the baseline.)
        """
        image, labels = self.job.open_image(id_), self.job.open_labels(id_)
        teacher = self.job.read_teacher(id_)
        if teacher.ignored_HW.all():
            raise InputError("all its pixels are ignored", "some must be visible", "Take it out of the folder")
        if labels is not None:
            labels = without_ignored(labels, teacher.ignored_HW)
        size = image.shape[:2] if labels is None else labels.shape
        predictions = dict(self._predictions(id_, image, teacher, *size))
        if labels is not None:
            predictions |= self._controls(id_, image, teacher, labels)
        turned = self._turned(id_, image, teacher, predictions)
        picture = self._picture(id_, image, teacher, predictions, labels)
        self.tally.add(id_, predictions, labels, teacher, turned)
        return picture

    def _turned(
        self,
        id_: str,
        image_HW3: npt.NDArray[np.uint8],
        teacher: TeacherArrays,
        predictions: Mapping[str, LabelArray],
    ) -> Turned | None:
        if self.tally.yaw is None:
            return None
        number, thresholds_C = self.tally.consensus.images, self.tally.histograms.thresholds()
        return self.tally.yaw.turn(id_, image_HW3, teacher, predictions, number, thresholds_C)

    def _predictions(
        self, id_: str, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays, height: int, width: int
    ) -> Iterator[tuple[str, LabelArray]]:
        """Rung and labels at the truth's size; the student's doubt is kept."""
        yield from teacher_rungs(teacher, self.tally.histograms.thresholds(), height, width).items()
        for rung, student in self.job.students.items():
            began = time.perf_counter()
            scores = student(image_HW3)
            self.tally.seconds[rung].append(time.perf_counter() - began)
            if rung == "student" and (own := self._doubt(scores, teacher.ignored_HW)) is not None:
                self.tally.doubt[id_] = own
            yield rung, labels_at(scores, height, width)

    def _doubt(self, logits_Chw: npt.NDArray[np.float32], ignored_HW: npt.NDArray[np.bool_]) -> float | None:
        """How unsure a network is of what was seen, as `goodsam predict` has it."""
        confidence_hw = confidence(logits_Chw, are_probabilities=False)
        height, width = confidence_hw.shape
        areas_h = solid_angles(height, width, self.job.vertical_fov)
        return doubt(confidence_hw, resize_nearest(ignored_HW, height, width), areas_h)

    def _controls(
        self, id_: str, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays, labels: LabelArray
    ) -> dict[str, LabelArray]:
        """Name and labels, at the truth's size, of the controls."""
        if self.job.controls is None:
            return {}
        truth_HW = resize_nearest(labels, *teacher.ignored_HW.shape)
        found = self.job.controls(id_, image_HW3, teacher, truth_HW)
        return {name: resize_nearest(labels_HW, *labels.shape) for name, labels_HW in found.items()}

    def _picture(
        self, id_: str, image_HW3: npt.NDArray[np.uint8], teacher: TeacherArrays,
        predictions: Mapping[str, LabelArray], labels: LabelArray | None,
    ) -> npt.NDArray[np.uint8] | None:  # fmt: skip
        if self.tally.consensus.images >= self.job.overlays:
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
        """Write metrics.json, ladder.md and the pictures; return the former."""
        out, metrics = self.job.out, self.tally.metrics()
        write_whole(out / "metrics.json", report.to_json(metrics))
        write_whole(out / "ladder.md", report.markdown_of(metrics, self.job.label_set))
        if (rungs := self.tally.ladder.rungs()) and can_draw():
            write_whole(out / ladder_chart.FILE, ladder_svg(rungs))
        self.pictures.finish()
        return metrics
