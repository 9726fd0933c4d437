"""A part of the study as a picture: ensembles and students of its rows, below each other or over what they cost."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.evidence.study import Part
from scripts.evidence.tables import OVER, Record

_ENSEMBLE, _STUDENT = "#1b6ca8", "#d1495b"
_MIOU = "mIoU on held-out scenes, %"


def plot(part: Part, record: Record, path: Path) -> None:
    """Draw the mIoU of a part's rows as an SVG file: a diamond for the ensemble, a dot for each student.

    Args:
        part: what it asks.
        record: its figures, as `evidence.json` has them.
        path: file to write.
    """
    rows: dict[str, Record] = record["rows"]
    figure = Figure(figsize=(9, 5 if part.over else 1.4 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    if part.over == "steps":
        _students_over_steps(axes, rows)
    elif part.over:
        _ensembles_over_cost(axes, rows, part.over)
    else:
        _below_each_other(axes, rows)
    axes.set_title(part.title)
    axes.grid(axis="both" if part.over else "x", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    with mpl.rc_context({"svg.hashsalt": part.title, "svg.fonttype": "none"}):  # equal figures, equal files
        figure.savefig(path, metadata={"Date": None})


def _below_each_other(axes: Axes, rows: dict[str, Record]) -> None:
    for place, row in enumerate(rows.values()):
        axes.plot(row["ensemble"]["miou"], place, "D", color=_ENSEMBLE, label="" if place else "ensemble")
        if student := row["student"]:
            of_seeds = student["miou of seeds"]
            axes.plot(of_seeds, [place] * len(of_seeds), "o", color=_STUDENT, alpha=0.7,
                      label="" if place else "student, each seed")  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel(_MIOU)


def _students_over_steps(axes: Axes, rows: dict[str, Record]) -> None:
    """The students' mean as a line, each seed as a dot, and the ensemble that taught them as a level."""
    both = [(row["steps"], row["student"]) for row in rows.values() if row["student"]]
    taught = sorted(both, key=lambda pair: pair[0])
    axes.axhline(next(iter(rows.values()))["ensemble"]["miou"], color=_ENSEMBLE, linestyle="--", label="ensemble")
    axes.plot([steps for steps, _ in taught], [student["miou"] for _, student in taught], color=_STUDENT,
              label="student, mean of the seeds")  # fmt: skip
    for steps, student in taught:
        of_seeds = student["miou of seeds"]
        axes.plot([steps] * len(of_seeds), of_seeds, "o", color=_STUDENT, alpha=0.7)
    axes.set_xscale("log")
    axes.set_xticks([steps for steps, _ in taught], [str(steps) for steps, _ in taught], minor=False)
    axes.minorticks_off()
    axes.set_xlabel(OVER["steps"])
    axes.set_ylabel(_MIOU)


def _ensembles_over_cost(axes: Axes, rows: dict[str, Record], cost: str) -> None:
    for name, row in rows.items():
        place = row[cost], row["ensemble"]["miou"]
        axes.plot(*place, "D", color=_ENSEMBLE)
        axes.annotate(name, place, xytext=(6, 4), textcoords="offset points", fontsize=8)
    axes.set_xlim(left=0)
    axes.margins(x=0.25)
    axes.set_xlabel(OVER[cost])
    axes.set_ylabel(_MIOU)
