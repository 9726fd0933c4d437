"""What an evaluation counts, panorama by panorama, and what metrics.json says of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.arrays import LabelArray
from pipeline.evaluate import report
from pipeline.evaluate.class_changes import changes_record, class_changes
from pipeline.evaluate.consensus import Consensus
from pipeline.evaluate.ladder import RUNGS, Ladder, LadderInput
from pipeline.evaluate.metrics import resize_nearest
from pipeline.evaluate.threshold import ConfidenceHistograms
from stages.evaluate_job import EvaluateJob
from stages.rungs import TeacherArrays
from stages.turning import Turned, YawTest

_MASKS_STEP = ("assistant_blend", "ensemble")
"""The rungs before and after SAM's masks, compared class by class."""


class EvaluationTally:
    """Sums over the panoramas of one evaluation."""

    def __init__(self, job: EvaluateJob) -> None:
        """Empty.

        Args:
            job: what is measured.
        """
        classes = len(job.label_set)
        self._job = job
        self.ladder = Ladder(classes, job.vertical_fov, job.categories)
        self.consensus = Consensus(classes, job.vertical_fov)
        self.histograms = ConfidenceHistograms(classes)
        self.yaw = YawTest(job.turning, job.students) if job.turning else None
        self.seconds: dict[str, list[float]] = {rung: [] for rung in job.students}
        self.doubt: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def add(
        self, panorama_id: str, predictions: Mapping[str, LabelArray], labels: LabelArray | None,
        teacher: TeacherArrays, turned: Turned | None,
    ) -> None:  # fmt: skip
        """Count one panorama.

        Args:
            panorama_id: the panorama.
            predictions: labels by rung, all of the size of the truth (without any: of the working size).
            labels: the truth; None where there is none.
            teacher: stage one's arrays, at the working size.
            turned: predictions of the turned panorama, where that is measured.
        """
        if labels is not None:
            self.ladder.add(LadderInput(labels, predictions, panorama_id))
        size = next(iter(predictions.values())).shape
        agreement = resize_nearest(teacher.agreement_HW, *size)
        rungs = {rung: labels_HW for rung, labels_HW in predictions.items() if rung in RUNGS}
        self.consensus.add(rungs, agreement, ~resize_nearest(teacher.ignored_HW, *size))
        if self.yaw and turned:
            self.yaw.add(turned)

    def metrics(self) -> dict[str, Any]:
        """All that was measured, as metrics.json has it; numbers may be NaN."""
        job, summary = self._job, self.consensus.summary()
        return {
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
            **({"doubt": self.doubt} if self.doubt else {}),
            "agreement": report.consensus_record(summary, job.label_set),
            **({"yaw": self.yaw.record()} if self.yaw else {}),
            "thresholds": dict(zip(job.label_set.names, self.histograms.thresholds().tolist(), strict=True)),
            "panoramas": [
                {"id": id_, "rungs": {rung: asdict(figures) for rung, figures in rungs.items()}}
                for id_, rungs in self.ladder.panoramas
            ],
            "set_aside": self.failed,
        }

    def _class_changes(self) -> dict[str, Any]:
        """What the masks change, class by class; nothing without labels."""
        if not self.ladder.images:
            return {}
        before, after = (self.ladder.matrices(rung) for rung in _MASKS_STEP)
        names = self._job.label_set.names
        return {"class_changes": changes_record(*_MASKS_STEP, class_changes(names, before, after))}

    def _student_record(self, rung: str) -> dict[str, Any]:
        student = self._job.students[rung]
        return {
            "parameters": student.parameters,
            "milliseconds_per_panorama": round(1000 * statistics.median(self.seconds[rung]), 2),
            "device": student.device,
        }
