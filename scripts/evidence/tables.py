"""Figures of the study from its confusion matrices, and its tables.

Legend: N panoramas, C classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.bootstrap import miou_change_interval
from pipeline.evaluate.class_changes import class_changes
from pipeline.evaluate.metrics import ConfusionMatrix
from scripts.evidence.scenes import RANGES, range_of
from scripts.evidence.study import Part

STUDENT, STUDENT_START = "student", "student_start"
OVER = {"seconds": "stage one, s per panorama", "steps": "steps of the student"}
"""What the rows of a part may be drawn over."""
_LOSS = 0.01
"""A class loses where its IoU falls by more than this from the assistant's blend to the ensemble."""

Record = dict[str, Any]


def figures(matrices_NCC: npt.NDArray[np.int64], ids: Sequence[str], labelled: int = 0) -> Record:
    """Figures of one rung: of all panoramas and of each range, in percent.

    Args:
        matrices_NCC: confusion matrix of each panorama, of the pixels that the rung covers.
        ids: the panoramas.
        labelled: pixels that have a true label, which `coverage` is a share of; 0: the rung covers all of them.
    """
    whole = _total(matrices_NCC)
    by_range = {
        name: 100 * _total(matrices_NCC[chosen]).miou
        for name in RANGES
        if (chosen := [number for number, id_ in enumerate(ids) if range_of(id_) == name])
    }
    spread = statistics.stdev(by_range.values()) if len(by_range) > 1 else 0.0
    covered = float(matrices_NCC.sum())
    return {
        "miou": 100 * whole.miou,
        "pixels": 100 * whole.accuracy,
        "coverage": 100 * covered / (labelled or covered),
        "miou of ranges": by_range,
        "spread of ranges": spread,
    }


def change(before_NCC: npt.NDArray[np.int64], after_NCC: npt.NDArray[np.int64]) -> list[float]:
    """95 % interval of a change of mIoU over the choice of panoramas, points."""
    return [100 * end for end in miou_change_interval(before_NCC, after_NCC)]


def losers(names: Sequence[str], blend_NCC: npt.NDArray[np.int64], ensemble_NCC: npt.NDArray[np.int64]) -> Record:
    """Classes that lose more than one point of IoU from blend to ensemble: {name: [change, low, high]} in points, with
    the 95 % interval over the choice of panoramas."""
    changes = class_changes(names, blend_NCC, ensemble_NCC)
    return {
        found.name: [100 * points for points in (found.change, *found.interval)]
        for found in changes
        if found.change < -_LOSS
    }


def seeds_record(students: Sequence[npt.NDArray[np.int64]], ids: Sequence[str]) -> Record:
    """Figures of a row's students, one of each seed: mean and spread over the seeds."""
    of_seeds = [figures(matrices_NCC, ids) for matrices_NCC in students]
    miou = [found["miou"] for found in of_seeds]
    return {
        "miou": statistics.mean(miou),
        "miou of seeds": miou,
        "pixels": statistics.mean(found["pixels"] for found in of_seeds),
        "spread of seeds": statistics.stdev(miou) if len(miou) > 1 else 0.0,
        "spread of ranges": statistics.mean(found["spread of ranges"] for found in of_seeds),
    }


def markdown(parts: Mapping[str, Part], records: Mapping[str, Record]) -> str:
    """All tables; `records` by the name of the part."""
    return "\n\n".join(_part_table(parts[name], record) for name, record in records.items())


def _part_table(part: Part, record: Record) -> str:
    lines = [f"### {part.title}", "", part.question, ""]
    if rungs := record.get("rungs"):
        lines += [
            "| rung | mIoU, % | spread of ranges | pixels, % | coverage, % |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        lines += [f"| {name} | {rung['miou']:.1f} | {rung['spread of ranges']:.1f} | {rung['pixels']:.1f} | "
                  f"{rung['coverage']:.1f} |" for name, rung in rungs.items()]  # fmt: skip
        lines.append("")
    first = ["settings", OVER[part.over]] if part.over else ["settings"]
    ensemble = ["ensemble, mIoU / pixels, %", "from the blend", "change", "classes that lose"]
    heads = [*first, *ensemble, "student, mIoU / pixels, %", "of seeds", "change"]
    texts = ("settings", "classes that lose", "of seeds")
    lines += [f"| {' | '.join(heads)} |",
              f"| {' | '.join('---' if head in texts else '---:' for head in heads)} |"]  # fmt: skip
    lines += [_row(name, row, part.over) for name, row in record["rows"].items()]
    about = [f"- {name}. {row['about']}" for name, row in record["rows"].items() if row.get("about")]
    return "\n".join([*lines, *(["", *about] if about else [])])


def _row(name: str, row: Record, over: str) -> str:
    ensemble, student = row["ensemble"], row.get("student")
    lost = ", ".join(_loser(which, found) for which, found in row["classes that lose"].items()) or "none"
    cells = [name, *([_number(row.get(over))] if over else []), f"{ensemble['miou']:.1f} / {ensemble['pixels']:.1f}",
             _interval(ensemble.get("change from the blend")), _interval(ensemble["change"]), lost]  # fmt: skip
    if student:
        of_seeds = ", ".join(f"{miou:.1f}" for miou in student["miou of seeds"])
        cells += [f"{student['miou']:.1f} / {student['pixels']:.1f}", of_seeds, _interval(student["change"])]
    else:
        cells += ["", "", ""]
    return f"| {' | '.join(cells)} |"


def _loser(name: str, found: float | Sequence[float]) -> str:
    """A class that loses; older records have its change alone."""
    if isinstance(found, (int, float)):
        return f"{name} {found:.1f}"
    return f"{name} {found[0]:.1f} ({_interval(found[1:])})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if not ends else f"{ends[0]:+.1f} to {ends[1]:+.1f}"


def _total(matrices_NCC: npt.NDArray[np.int64]) -> ConfusionMatrix:
    total = ConfusionMatrix(matrices_NCC.shape[1])
    total.matrix = matrices_NCC.sum(axis=0)
    return total
