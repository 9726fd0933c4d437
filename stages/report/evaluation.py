"""What was measured of a run, for people who have not read how: the ladder, and scores that need no labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.consensus import ConsensusSummary
from pipeline.evaluate.ladder import Rung
from pipeline.evaluate.report import ABSENT, MACHINE_LABELS, PARTIAL_COVERAGE, consensus_of, percent, rung_of
from stages.ladder_chart import INSTALL, can_draw, chart_html, ladder_svg
from stages.report.notes import with_commands

METRICS = "metrics.json"
_LADDER = (
    "mIoU is the mean over classes of the overlap between labels and result (100 is perfect); each row is a step of "
    "the method, and the interval is over the choice of panoramas."
)
_COVERAGE = "Coverage: the share of pixels for which a step gives a label."
_SEAM = (
    "Seam: how often the label changes where the picture's ends meet, beside how often it does between other columns; "
    "the two should be alike."
)
_PAIRS = "Agreement of two steps: the share of pixels to which both give the same label."


def evaluation_html(folder: Path) -> str:
    """The section of the page on an evaluation; empty where the folder has none.

    Raises:
        InputError: the evaluation is damaged.
    """
    path = folder / METRICS
    if not path.is_file():
        return ""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        rungs = [rung_of(record) for record in metrics["ladder"]]
        summary = consensus_of(metrics["agreement"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__})", "it must be as `goodsam eval` wrote it",
                         "Run `goodsam eval` again") from error  # fmt: skip
    parts = [*_ladder(rungs, metrics), *_without_labels(summary)]
    return f'<section aria-labelledby="measured"><h2 id="measured">What was measured</h2>{"".join(parts)}</section>'


def _ladder(rungs: Sequence[Rung], metrics: Mapping[str, Any]) -> list[str]:
    if not rungs:
        return [paragraph("There are no labels: how right the results are is not measured. Labels in data.labels and "
                   "`goodsam eval` give the ladder.")]  # fmt: skip
    rows = [
        [_words(rung.name), percent(rung.miou), _interval(rung), percent(rung.miou_solid_angle), percent(rung.coverage)]
        for rung in rungs
    ]
    caution = [paragraph(MACHINE_LABELS)] if metrics.get("labels_by") == "network" else []
    remark = [paragraph(PARTIAL_COVERAGE)] if any(rung.coverage < 0.999 for rung in rungs) else []
    head = ["step", "mIoU, %", "95 % interval", "by solid angle, %", "coverage, %"]
    return [*caution, paragraph(_LADDER), table(head, rows), *remark, _chart(rungs)]


def _chart(rungs: Sequence[Rung]) -> str:
    if not can_draw():
        return paragraph(f"With matplotlib (`{INSTALL}`) the same is drawn as a chart, too.")
    return chart_html(ladder_svg(rungs), "The table above as a chart")


def _without_labels(summary: ConsensusSummary) -> list[str]:
    """Scores that need no labels, each with a sentence."""
    parts = ["<h3>Without labels</h3>"]
    if math.isfinite(same := summary.window_agreement):
        parts.append(paragraph(f"Where windows overlap, the assistant gives the same label in {percent(same)} % of "
                        "the pixels; more is steadier."))  # fmt: skip
    rows = [
        [_words(name), percent(share), percent(summary.seam.get(name, math.nan)),
         percent(summary.neighbours.get(name, math.nan))]
        for name, share in summary.coverage.items()
    ]  # fmt: skip
    head = ["step", "coverage, %", "label changes at the seam, %", "elsewhere, %"]
    parts += [paragraph(f"{_COVERAGE} {_SEAM}"), table(head, rows)]
    pairs = [[f"{_words(a)} and {_words(b)}", percent(share)] for (a, b), share in summary.pairwise.items()]
    folded = f"<details><summary>{_PAIRS}</summary>{table(['steps', 'same label, %'], pairs)}</details>"
    return [*parts, folded] if pairs else parts


def _interval(rung: Rung) -> str:
    low, high = rung.miou_interval
    return f"{percent(low)} to {percent(high)}" if math.isfinite(low) else ABSENT


def _words(name: str) -> str:
    return name.replace("_", " ")


def paragraph(text: str) -> str:
    """A paragraph of HTML, with what stands between backticks as code."""
    return f"<p>{with_commands(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of HTML; cells are text."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(_row(row) for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _row(cells: Sequence[str]) -> str:
    name, *rest = map(escape, cells)
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
