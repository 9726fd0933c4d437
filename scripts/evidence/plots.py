"""A part of the study as a picture: every row's ensemble, and the students of its seeds beside each other."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts.evidence.study import Part
from scripts.evidence.tables import Record

_ENSEMBLE, _STUDENT = "#1b6ca8", "#d1495b"


def plot(part: Part, record: Record, path: Path) -> None:
    """Draw the mIoU of a part's rows as an SVG file: a diamond for the ensemble, a dot for each student.

    Args:
        part: what it asks.
        record: its figures, as `evidence.json` has them.
        path: file to write.
    """
    rows = list(record["rows"].items())
    figure = Figure(figsize=(9, 1.4 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, row) in enumerate(rows):
        axes.plot(row["ensemble"]["miou"], place, "D", color=_ENSEMBLE, label="" if place else "ensemble")
        if student := row["student"]:
            of_seeds = student["miou of seeds"]
            axes.plot(of_seeds, [place] * len(of_seeds), "o", color=_STUDENT, alpha=0.7,
                      label="" if place else "student, each seed")  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mIoU on held-out scenes, %")
    axes.set_title(part.title)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="best")
    with mpl.rc_context({"svg.hashsalt": part.title, "svg.fonttype": "none"}):  # equal figures, equal files
        figure.savefig(path, metadata={"Date": None})
