"""Results for machines (strict JSON), for readers (Markdown) and for the terminal (plain text)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.classes import LabelSet
from pipeline.evaluate.consensus import ConsensusSummary
from pipeline.evaluate.ladder import RUNGS, Rung

ABSENT = "–"
"""Stands in tables for what could not be measured."""
MACHINE_LABELS = (
    "The labels were made by a network: the ladder says how far each rung agrees with it, not how right it is."
)
"""Stands before a ladder of such labels."""


def rung_record(rung: Rung, labels: LabelSet) -> dict[str, Any]:
    """One rung as it stands in metrics.json; IoU by class name."""
    per_class = dict(zip(labels.names, rung.per_class_iou, strict=True))
    return {**dataclasses.asdict(rung), "per_class_iou": per_class}


def consensus_record(summary: ConsensusSummary, labels: LabelSet) -> dict[str, Any]:
    """What was measured without labels, as it stands in metrics.json."""
    shares = {name: dict(zip(labels.names, values, strict=False)) for name, values in summary.class_shares.items()}
    pairwise = [{"rungs": list(pair), "agreement": value} for pair, value in summary.pairwise.items()]
    return {
        "images": summary.images,
        "window_agreement": summary.window_agreement,
        "coverage": summary.coverage,
        "class_shares": shares,
        "pairwise": pairwise,
    }


def rung_of(record: Mapping[str, Any]) -> Rung:
    """A rung from its record, null being nan again: old results print like new ones."""
    iou = tuple(_number(value) for value in record["per_class_iou"].values())
    miou, solid, coverage = (_number(record[key]) for key in ("miou", "miou_solid_angle", "coverage"))
    return Rung(record["name"], miou, solid, iou, coverage, _number(record.get("pixel_accuracy")))


def consensus_of(record: Mapping[str, Any]) -> ConsensusSummary:
    """A consensus from its record."""
    return ConsensusSummary(
        images=record["images"],
        coverage={name: _number(value) for name, value in record["coverage"].items()},
        class_shares={name: tuple(shares.values()) for name, shares in record["class_shares"].items()},
        pairwise={(a, b): _number(pair["agreement"]) for pair in record["pairwise"] for a, b in [pair["rungs"]]},
        window_agreement=_number(record["window_agreement"]),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def to_json(record: Mapping[str, Any]) -> str:
    """Strict JSON that any parser reads: what is not a number becomes null."""
    return json.dumps(_strict(record), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_strict(inner) for inner in value]
    if isinstance(value, np.generic):
        return _strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def text_of(metrics: Mapping[str, Any]) -> str:
    """The content of a metrics.json as tables for the terminal."""
    rungs = [rung_of(record) for record in metrics["ladder"]]
    agreement = consensus_of(metrics["agreement"])
    ladder = [*cautions(metrics.get("labels_by", "people")), ladder_text(rungs)] if rungs else []
    return "\n\n".join([*ladder, *costs_text(metrics), consensus_text(agreement)])


def cautions(labels_by: str) -> list[str]:
    """What stands before a ladder, by who made its labels (see DataConfig)."""
    return [MACHINE_LABELS] if labels_by == "network" else []


def ladder_markdown(rungs: Sequence[Rung], labels: LabelSet) -> str:
    """Two Markdown tables: the ladder, and IoU per class with the rungs as columns. All in percent."""
    per_class = [
        [name, *(percent(rung.per_class_iou[class_id]) for rung in rungs)] for class_id, name in enumerate(labels.names)
    ]
    return "\n\n".join(
        (
            _markdown(_HEAD, _ladder_rows(rungs)),
            _markdown(["IoU, %", *(_readable(rung.name) for rung in rungs)], per_class),
        )
    )


def ladder_text(rungs: Sequence[Rung]) -> str:
    """The ladder as an aligned table for the terminal, in percent."""
    return _aligned(_HEAD, _ladder_rows(rungs))


def costs_markdown(metrics: Mapping[str, Any]) -> list[str]:
    """Markdown table of what the students of a metrics.json cost: size, time, device. None where there are none."""
    rows = _cost_rows(metrics)
    return [_markdown(_COST_HEAD, rows)] if rows else []


def costs_text(metrics: Mapping[str, Any]) -> list[str]:
    """The same, aligned for the terminal."""
    rows = _cost_rows(metrics)
    return [_aligned(_COST_HEAD, rows)] if rows else []


def consensus_markdown(summary: ConsensusSummary, labels: LabelSet) -> str:
    """Markdown tables of what was measured without labels: coverage and agreement, then class shares. In percent."""
    names = list(summary.coverage)
    head = ["agreement, %", "coverage", *(_readable(name) for name in names)]
    agreement = [
        [_readable(row), percent(summary.coverage[row]), *(_pair(summary, row, column) for column in names)]
        for row in names
    ]
    shares = [
        [name, *(_share(summary, rung, class_id) for rung in names)] for class_id, name in enumerate(labels.names)
    ]
    return "\n\n".join(
        (_markdown(head, agreement), _markdown(["share of the view, %", *(_readable(name) for name in names)], shares))
    )


def consensus_text(summary: ConsensusSummary) -> str:
    """Coverage and agreement of the rungs for the terminal, in percent."""
    names = list(summary.coverage)
    rows = [
        [_readable(row), percent(summary.coverage[row]), *(_pair(summary, row, column) for column in names)]
        for row in names
    ]
    return _aligned(["agreement, %", "coverage", *(_readable(name) for name in names)], rows)


def percent(value: float) -> str:
    """0.4213 -> "42.1"; a dash for what could not be measured."""
    return f"{100 * value:.1f}" if math.isfinite(value) else ABSENT


COMPLETE = 0.999
"""Coverage from which a rung counts as covering everything."""
_COST_HEAD = ["rung", "parameters", "milliseconds per panorama", "device"]
_HEAD = ["rung", "mIoU, %", "by solid angle, %", "pixels, %", "coverage, %", "step"]


def _ladder_rows(rungs: Sequence[Rung]) -> list[list[str]]:
    """Rows of the ladder; the last column is the change of mIoU against the last rung before that covers everything.

    A rung that leaves out its doubtful pixels is measured on easier ones: no step can be taken from it.
    """
    rows: list[list[str]] = []
    last = float("nan")
    for rung in rungs:
        step = _step(rung.miou - last)
        rows.append(
            [
                _readable(rung.name),
                *map(percent, (rung.miou, rung.miou_solid_angle, rung.pixel_accuracy, rung.coverage)),
                step,
            ]
        )
        last = rung.miou if rung.coverage > COMPLETE else last
    return rows


def _cost_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    records = {rung: metrics[rung] for rung in RUNGS if rung in metrics}
    return [
        [_readable(rung), f"{cost['parameters']:,}", f"{cost['milliseconds_per_panorama']:.1f}", cost["device"]]
        for rung, cost in records.items()
    ]


def _step(change: float) -> str:
    return f"{100 * change:+.1f}" if math.isfinite(change) else ""


def _pair(summary: ConsensusSummary, row: str, column: str) -> str:
    value = summary.pairwise.get((row, column), summary.pairwise.get((column, row), float("nan")))
    return "" if row == column else percent(value)


def _share(summary: ConsensusSummary, rung: str, class_id: int) -> str:
    shares = summary.class_shares[rung]
    return percent(shares[class_id]) if shares else ABSENT


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    alignment = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, alignment, *rows))


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
