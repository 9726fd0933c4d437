"""Yaw stability of the ladder's rungs: panoramas are turned, their results turned back and compared.

Legend: H W panorama at the working size, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray, ImageArray, LabelArray
from pipeline.evaluate.metrics import labels_at
from pipeline.evaluate.yaw import YawStability, turns, yaw_record
from stages.predictor import Predictor
from stages.rungs import TeacherArrays, teacher_rungs

STUDENT_PANORAMAS = 16
"""Students are turned on this many panoramas, the first ones: more tell little more, and each takes two predictions."""

ReadTurned = Callable[[str, ImageArray, int], TeacherArrays]
"""Id, image at the working size, columns -> stage one's arrays of the panorama with its columns rolled by so many."""
Rungs = Mapping[str, LabelArray]


@dataclass(frozen=True)
class TurningPlan:
    """What to turn, and by how much."""

    window_stride: int
    """Columns between neighbouring windows of stage one."""
    panoramas: int = 0
    """For this many panoramas, the first ones, stage one is computed again for every turn."""
    read_turned: ReadTurned | None = None
    """Computes it; needed where `panoramas` is not 0."""


@dataclass(frozen=True)
class Turned:
    """One panorama, straight and turned."""

    id: str
    straight: Rungs
    """Labels [H, W] by rung."""
    back: Mapping[float, Rungs]
    """The same after each turn, by its degrees, with the columns back in their place."""
    valid_HW: npt.NDArray[np.bool_]
    """Pixels where something was seen."""


class YawTest:
    """Turns the first panoramas and counts what that changes."""

    def __init__(self, plan: TurningPlan, students: Mapping[str, Predictor]) -> None:
        self._plan = plan
        self._students = students
        self._changes: dict[float, YawStability] = {}

    def turn(
        self,
        id_: str,
        image_HW3: ImageArray,
        teacher: TeacherArrays,
        predictions: Rungs,
        number: int,
        thresholds_C: FloatArray,
    ) -> Turned | None:
        """The results of a panorama, straight and turned; None where it is none of the first.

        Args:
            id_: its id.
            image_HW3: the panorama.
            teacher: what stage one knows of it.
            predictions: labels by rung, of any size; those of the working size are not computed again.
            number: how many panoramas were measured before it.
            thresholds_C: those of the baseline.
        """
        height, width = teacher.ignored_HW.shape
        of_stage_one = number < self._plan.panoramas
        students = self._students if number < max(STUDENT_PANORAMAS, self._plan.panoramas) else {}
        if not (of_stage_one or students):
            return None

        def rungs(columns: int) -> dict[str, LabelArray]:
            turned_HW3 = _rolled(image_HW3, columns)
            found: dict[str, LabelArray] = {}
            if of_stage_one:
                own = self._stage_one(id_, turned_HW3, columns) if columns else teacher
                found |= teacher_rungs(own, thresholds_C, height, width)
            found |= {name: labels_at(student(turned_HW3), height, width) for name, student in students.items()}
            return {name: _rolled(labels_HW, -columns) for name, labels_HW in found.items()}

        back = {360 * columns / width: rungs(columns) for columns in turns(width, self._plan.window_stride)}
        known = all(labels.shape == (height, width) for labels in predictions.values())
        return Turned(id_, predictions if known else rungs(0), back, ~teacher.ignored_HW)

    def _stage_one(self, id_: str, turned_HW3: ImageArray, columns: int) -> TeacherArrays:
        if self._plan.read_turned is None:
            raise ValueError(f"{self._plan.panoramas} panoramas are to be turned, and nothing computes them")
        return self._plan.read_turned(id_, turned_HW3, columns)

    def add(self, turned: Turned) -> None:
        """Count the changes of a panorama."""
        for degrees, back in turned.back.items():
            self._changes.setdefault(degrees, YawStability()).add(turned.id, turned.straight, back, turned.valid_HW)

    def record(self) -> list[dict[str, Any]]:
        """What metrics.json holds of it."""
        return yaw_record({degrees: changes.summary() for degrees, changes in self._changes.items()})


def _rolled(array_HW: npt.NDArray[Any], columns: int) -> npt.NDArray[Any]:
    """A panorama, or a map of it, whose columns were moved to the right."""
    return np.roll(array_HW, columns, axis=1)
