"""What an evaluation measures: panoramas, their labels, stage one's output and students.

Legend: H W working size of the panorama.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import LabelArray
from pipeline.classes import LabelSet
from pipeline.errors import WeightsError
from pipeline.evaluate.categories import Categories
from stages.controls import RunControls
from stages.predictor import Predictor
from stages.rungs import TeacherArrays
from stages.turning import TurningPlan

STAGE = "eval"


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

    def require_same_classes(self) -> None:
        """Refuse students of other classes than are measured.

        Raises:
            WeightsError: a student predicts others.
        """
        for rung, student in self.students.items():
            if student.label_set.names != self.label_set.names:
                raise WeightsError(
                    f"{rung} predicts the {len(student.label_set)} classes of {student.label_set.name}",
                    f"the {len(self.label_set)} classes of {self.label_set.name} are measured",
                    "Evaluate a student with the same label set",
                )
