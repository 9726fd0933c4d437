"""How far the label maps of a panorama agree: with the truth where there is one, and with the report's own labels.

They are compared pixel by pixel on the viewer's canvas, weighted by solid angle.

Legend: H W canvas of the viewer, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sphere import solid_angles

LABELS, TRUTH = "labels", "truth"


@dataclass(frozen=True)
class Agreement:
    """What was counted of one panorama."""

    differs: Mapping[str, float] = field(default_factory=dict[str, float])
    """By layer: of what it and the labels both have a class for, the share where the classes differ, 0..1."""
    truth: Mapping[str, ConfusionMatrix] = field(default_factory=dict[str, ConfusionMatrix])
    """By layer: its pairs with the truth, by solid angle; empty where there is no truth."""

    @classmethod
    def of(cls, maps: Mapping[str, LabelArray], classes: int, vertical_fov: float) -> Agreement:
        """Compare maps of one canvas.

        Args:
            maps: class ids [H, W] by layer; ids that are no class stand for nothing.
            classes: how many there are.
            vertical_fov: degrees around the horizon that the canvas covers.
        """
        if len(maps) < 2:
            return cls()
        known = {key: np.where(map_HW < classes, map_HW, np.uint8(IGNORE)) for key, map_HW in maps.items()}
        height, width = next(iter(known.values())).shape
        weights_H = solid_angles(height, width, vertical_fov)

        def pairs(rows: str, columns: str) -> ConfusionMatrix:
            matrix = ConfusionMatrix(classes, weighted=True)
            matrix.add(known[rows], known[columns], weights_H)
            return matrix

        others = [key for key in known if key != LABELS] if LABELS in known else []
        alike = {key: pairs(key, LABELS).accuracy for key in others}
        truth = {key: pairs(TRUTH, key) for key in known if key != TRUTH} if TRUTH in known else {}
        # Rounded sums make a share of a hair above 1, which would be shown as -0.0 %.
        return cls({key: max(0.0, 1 - share) for key, share in alike.items() if not math.isnan(share)}, truth)

    def record(self) -> dict[str, Any]:
        """As values for JSON: of the pairs those that occur."""
        return {"differs": dict(self.differs), "truth": {key: _entries(matrix) for key, matrix in self.truth.items()}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], classes: int) -> Agreement:
        """What `record` gave.

        Raises:
            KeyError, ValueError, TypeError, IndexError: it is none of so many classes.
        """
        return cls(dict(record["differs"]), {key: _matrix(own, classes) for key, own in record["truth"].items()})


def _entries(matrix: ConfusionMatrix) -> list[tuple[int, int, float]]:
    """(True class, class or IGNORE for none, solid angle) of the pairs that occur."""
    table = np.column_stack([matrix.matrix, matrix.uncovered])
    return [(int(row), int(column) if column < matrix.classes else IGNORE, float(table[row, column]))
            for row, column in np.argwhere(table > 0)]  # fmt: skip


def _matrix(entries: list[tuple[int, int, float]], classes: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes, weighted=True)
    for row, column, weight in entries:
        if column == IGNORE:
            matrix.uncovered[row] += weight
        else:
            matrix.matrix[row, column] += weight
    return matrix
