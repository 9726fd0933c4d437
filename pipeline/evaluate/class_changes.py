"""Which classes gain and which lose from one rung of the ladder to the next, with intervals over the panoramas.

Legend: N panoramas, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluate.bootstrap import Matrices, iou_change_intervals
from pipeline.evaluate.metrics import class_iou


@dataclass(frozen=True)
class ClassChange:
    """IoU of one class before and after a step; nan where the class does not occur."""

    name: str
    before: float
    """IoU, 0..1."""
    after: float
    """IoU, 0..1."""
    interval: tuple[float, float]
    """95 % interval of `after` - `before` over the choice of panoramas; nan for a single panorama."""

    @property
    def change(self) -> float:
        """`after` - `before`."""
        return self.after - self.before

    @property
    def is_loss(self) -> bool:
        """Whether the class loses by the whole interval, so that other panoramas would hardly show otherwise."""
        return self.interval[1] < 0


def class_changes(names: Sequence[str], before_NCC: Matrices, after_NCC: Matrices) -> list[ClassChange]:
    """The change of every class from one prediction to another of the same panoramas.

    Args:
        names: of the classes, by id.
        before_NCC: confusion matrix of each panorama, rows = truth.
        after_NCC: those of the other prediction, in the same order.
    """
    before_C, after_C = class_iou(before_NCC.sum(axis=0)), class_iou(after_NCC.sum(axis=0))
    intervals = iou_change_intervals(before_NCC, after_NCC)
    return [
        ClassChange(name, float(before), float(after), interval)
        for name, before, after, interval in zip(names, before_C, after_C, intervals, strict=True)
    ]


def changes_record(before: str, after: str, changes: Sequence[ClassChange]) -> dict[str, Any]:
    """The changes between two rungs as they are written to metrics.json."""
    return {"from": before, "to": after, "classes": [asdict(change) for change in changes]}


def changes_of(record: Mapping[str, Any]) -> list[ClassChange]:
    """The changes from their record, with nan for null."""
    return [
        ClassChange(found["name"], _number(found["before"]), _number(found["after"]),
                    (_number(found["interval"][0]), _number(found["interval"][1])))
        for found in record["classes"]
    ]  # fmt: skip


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
