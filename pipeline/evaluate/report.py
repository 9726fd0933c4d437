"""Results for machines (strict JSON), for readers (Markdown) and for the terminal (plain text)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.classes import LabelSet
from pipeline.evaluate.class_changes import changes_of
from pipeline.evaluate.consensus import ConsensusSummary
from pipeline.evaluate.ladder import RUNGS, CategoryFigures, Rung
from pipeline.evaluate.yaw import yaw_of

ABSENT = "–"
"""Shown in tables for what could not be measured."""
MACHINE_LABELS = (
    "The labels were made by a network: the ladder says how far each rung agrees with it, not how right it is."
)
"""Shown above a ladder with such labels."""
PARTIAL_COVERAGE = (
    "A rung is measured only on the pixels that it covers. One that leaves out doubtful pixels can have a lower IoU of "
    "a class than the rung before it without being wrong anywhere else: it then leaves out more hits than errors."
)
"""Shown below a ladder with such rungs."""

EVALUATOR = (
    "mIoU as Trans4PASS's evaluation on DensePASS has it: one confusion matrix over all panoramas, at the labels' own "
    "size; the mean is over the classes that occur in the labels or the prediction."
)
"""Shown below a ladder; stages/README.md names the other evaluators of the field."""

CONTROLS = {
    "sam_only": "SAM's masks with the class that most of the assistant's pixels in them have, and nothing elsewhere",
    "superpixels": "regions of like colour in place of SAM's masks, which shows what knowing objects is worth",
    "oracle": "every mask with the class that most of its pixels truly have, the assistant's blend elsewhere: the most "
    "that these masks could give",
}
"""Rungs to compare with, which are no step of the method, and what each is."""


def rung_record(rung: Rung, labels: LabelSet) -> dict[str, Any]:
    """One rung as it is written to metrics.json; IoU by class name."""
    record = {**dataclasses.asdict(rung), "per_class_iou": dict(zip(labels.names, rung.per_class_iou, strict=True))}
    return record if rung.categories is not None else {key: record[key] for key in record if key != "categories"}


def consensus_record(summary: ConsensusSummary, labels: LabelSet) -> dict[str, Any]:
    """The consensus as it is written to metrics.json."""
    shares = {name: dict(zip(labels.names, values, strict=False)) for name, values in summary.class_shares.items()}
    pairwise = [{"rungs": list(pair), "agreement": value} for pair, value in summary.pairwise.items()]
    return {
        "images": summary.images,
        "window_agreement": summary.window_agreement,
        "coverage": summary.coverage,
        "class_shares": shares,
        "pairwise": pairwise,
        "seam": summary.seam,
        "neighbours": summary.neighbours,
    }


def rung_of(record: Mapping[str, Any]) -> Rung:
    """A rung from its record, with nan for null: old results print like new ones."""
    iou = tuple(_number(value) for value in record["per_class_iou"].values())
    miou, solid, coverage = (_number(record[key]) for key in ("miou", "miou_solid_angle", "coverage"))
    low, high = (_number(value) for value in record.get("miou_interval", (None, None)))
    accuracy = _number(record.get("pixel_accuracy"))
    return Rung(record["name"], miou, solid, iou, coverage, accuracy, (low, high), _categories_of(record))


def _categories_of(record: Mapping[str, Any]) -> CategoryFigures | None:
    found = record.get("categories")
    if found is None:
        return None
    miou, solid, accuracy = (_number(found[key]) for key in ("miou", "miou_solid_angle", "pixel_accuracy"))
    iou = {name: _number(value) for name, value in found["per_category_iou"].items()}
    return CategoryFigures(miou, solid, iou, accuracy)


def consensus_of(record: Mapping[str, Any]) -> ConsensusSummary:
    """A consensus from its record."""
    return ConsensusSummary(
        images=record["images"],
        coverage={name: _number(value) for name, value in record["coverage"].items()},
        class_shares={name: tuple(shares.values()) for name, shares in record["class_shares"].items()},
        pairwise={(a, b): _number(pair["agreement"]) for pair in record["pairwise"] for a, b in [pair["rungs"]]},
        window_agreement=_number(record["window_agreement"]),
        seam={name: _number(value) for name, value in record.get("seam", {}).items()},
        neighbours={name: _number(value) for name, value in record.get("neighbours", {}).items()},
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def to_json(record: Mapping[str, Any]) -> str:
    """Strict JSON: NaN and infinity become null."""
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
    """The content of a metrics.json as tables for the terminal: ladder, categories, cost of the students, agreement,
    seam, yaw stability; and which classes lose."""
    rungs, summary = _read_back(metrics)
    tables = [
        *([_ladder(rungs), *_categories(rungs)] if rungs else []),
        *_costs(metrics),
        _agreement(summary),
        *_seam(summary),
        *_yaw(metrics),
    ]
    return "\n\n".join(
        [
            *_cautions(metrics),
            *map(_aligned, tables),
            *_checkpoint(metrics),
            *_losses(metrics),
            *_skipped(metrics),
            *_assistants(metrics),
            *_remarks(rungs),
        ]
    )


def markdown_of(metrics: Mapping[str, Any], labels: LabelSet) -> str:
    """The same as Markdown, with the IoU, its change by the masks, and the share of every class."""
    rungs, summary = _read_back(metrics)
    ladder = [_ladder(rungs), _class_iou(rungs, labels), *_class_changes(metrics), *_categories(rungs)] if rungs else []
    general = [*_costs(metrics), _agreement(summary), *_seam(summary), *_yaw(metrics), _class_shares(summary, labels)]
    remarks = [*_checkpoint(metrics), *_losses(metrics), *_skipped(metrics), *_assistants(metrics), *_remarks(rungs)]
    return "\n\n".join([*_cautions(metrics), *map(_markdown, (*ladder, *general)), *remarks]) + "\n"


def percent(value: float) -> str:
    """0.4213 -> "42.1"; a dash for what could not be measured."""
    return f"{100 * value:.1f}" if math.isfinite(value) else ABSENT


COMPLETE = 0.999
"""Coverage above which a rung counts as covering everything."""


LOSS = 0.01
"""A class loses where its IoU falls by more than this."""


class _Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def _read_back(metrics: Mapping[str, Any]) -> tuple[list[Rung], ConsensusSummary]:
    return [rung_of(record) for record in metrics["ladder"]], consensus_of(metrics["agreement"])


def _cautions(metrics: Mapping[str, Any]) -> list[str]:
    """Warnings above a ladder, by who made its labels (see DataConfig)."""
    return [MACHINE_LABELS] if metrics["ladder"] and metrics.get("labels_by") == "network" else []


def _remarks(rungs: Sequence[Rung]) -> list[str]:
    """Remarks below the tables: which mIoU it is, what the controls are, how to read rungs that leave pixels out."""
    controls = [f"{_readable(rung.name)}: {CONTROLS[rung.name]}" for rung in rungs if rung.name in CONTROLS]
    explained = [f"Controls, which are no steps of the method: {'; '.join(controls)}."] if controls else []
    return [*_protocol(rungs), *explained] + (
        [PARTIAL_COVERAGE] if any(rung.coverage <= COMPLETE for rung in rungs) else []
    )


def _assistants(metrics: Mapping[str, Any]) -> list[str]:
    """Which networks several assistants are; nothing for one."""
    names = metrics.get("assistants", ())
    if not names:
        return []
    listed = ", ".join(f"{number} is {name}" for number, name in enumerate(names, start=1))
    return [f"Assistants: {listed}; assistant blend is their mean."]


def _protocol(rungs: Sequence[Rung]) -> list[str]:
    """Which of the field's mIoUs it is, and which classes some mean is without; nothing without labels."""
    if not rungs:
        return []
    absent = sum(any(math.isnan(rung.per_class_iou[i]) for rung in rungs) for i in range(len(rungs[0].per_class_iou)))
    left_out = (
        f" {absent} {'class is' if absent == 1 else 'classes are'} left out for a rung at least." if absent else ""
    )
    return [EVALUATOR + left_out]


def _skipped(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence for each control that could not be computed."""
    return [f"The control {name} was skipped: {why}." for name, why in metrics.get("skipped_controls", {}).items()]


def _checkpoint(metrics: Mapping[str, Any]) -> list[str]:
    """Which checkpoint of the student was measured; nothing for older results."""
    found = metrics.get("student_checkpoint")
    if found is None:
        return []
    how = ", chosen on panoramas held out of its training" if found["kind"] == "best" else ""
    return [f"The student is that of step {found['step']} of {found['of']}, its {found['kind']} checkpoint{how}."]


def _losses(metrics: Mapping[str, Any]) -> list[str]:
    """A sentence that names the classes which lose by SAM's masks, the largest loss first."""
    found = metrics.get("class_changes")
    if found is None:
        return []
    before, after = (_readable(found[key]) for key in ("from", "to"))
    losing = sorted((change for change in changes_of(found) if change.change < -LOSS), key=lambda own: own.change)
    if not losing:
        return [f"No class loses more than one point of IoU from {before} to {after}."]
    named = [f"{own.name} {_step(own.change)}{' (the whole interval)' if own.is_loss else ''}" for own in losing]
    return [f"Classes that lose more than one point of IoU from {before} to {after}: {', '.join(named)}."]


def _ladder(rungs: Sequence[Rung]) -> _Table:
    """The last column is the change of mIoU from the last earlier rung that covers everything.

    A rung that leaves out doubtful pixels is measured on easier ones: steps are not counted from it.
    """
    rows: list[list[str]] = []
    last = float("nan")
    for rung in rungs:
        shares = (rung.miou_solid_angle, rung.pixel_accuracy, rung.coverage)
        figures = (percent(rung.miou), _between(*rung.miou_interval), *map(percent, shares))
        is_step = rung.name not in CONTROLS
        rows.append([_readable(rung.name), *figures, _step(rung.miou - last) if is_step else ""])
        last = rung.miou if is_step and rung.coverage > COMPLETE else last
    return _Table(["rung", "mIoU, %", "95 % interval", "by solid angle, %", "pixels, %", "coverage, %", "step"], rows)


def _between(low: float, high: float, of: Callable[[float], str] = percent) -> str:
    """ "46.4 to 62.5"; a dash where there is no interval."""
    return f"{of(low)} to {of(high)}" if math.isfinite(low) else ABSENT


def _class_iou(rungs: Sequence[Rung], labels: LabelSet) -> _Table:
    rows = [[name, *(percent(rung.per_class_iou[i]) for rung in rungs)] for i, name in enumerate(labels.names)]
    return _Table(["IoU, %", *(_readable(rung.name) for rung in rungs)], rows)


def _class_changes(metrics: Mapping[str, Any]) -> list[_Table]:
    """What SAM's masks change in every class, in points; no table for older results without it."""
    found = metrics.get("class_changes")
    if found is None:
        return []
    rows = [
        [own.name, percent(own.before), percent(own.after), _step(own.change), _between(*own.interval, of=_step)]
        for own in changes_of(found)
    ]
    return [_Table(["IoU, %", _readable(found["from"]), _readable(found["to"]), "change", "95 % interval"], rows)]


def _categories(rungs: Sequence[Rung]) -> list[_Table]:
    """IoU per category, their mean, and pixels of the right category; no table where none are measured."""
    found = [rung.categories for rung in rungs if rung.categories is not None]
    if not found:
        return []
    rows = [[name, *(percent(own.per_category_iou[name]) for own in found)] for name in found[0].per_category_iou]
    rows.append(["mIoU", *(percent(own.miou) for own in found)])
    rows.append(["mIoU by solid angle", *(percent(own.miou_solid_angle) for own in found)])
    rows.append(["pixels", *(percent(own.pixel_accuracy) for own in found)])
    return [_Table(["categories, IoU, %", *(_readable(rung.name) for rung in rungs if rung.categories)], rows)]


def _costs(metrics: Mapping[str, Any]) -> list[_Table]:
    """Size, time and device of the students; no table where there are none."""
    records = {rung: metrics[rung] for rung in RUNGS if rung in metrics}
    rows = [
        [_readable(rung), f"{cost['parameters']:,}", f"{cost['milliseconds_per_panorama']:.1f}", cost["device"]]
        for rung, cost in records.items()
    ]
    return [_Table(["rung", "parameters", "milliseconds per panorama", "device"], rows)] if rows else []


def _agreement(summary: ConsensusSummary) -> _Table:
    """Coverage of the rungs, and their agreement with each other."""
    names = list(summary.coverage)
    rows = [
        [_readable(row), percent(summary.coverage[row]), *(_pair(summary, row, column) for column in names)]
        for row in names
    ]
    return _Table(["agreement, %", "coverage", *map(_readable, names)], rows)


def _seam(summary: ConsensusSummary) -> list[_Table]:
    """How often labels change at the seam, and between columns anywhere else; no table for older results without it."""
    rows = [
        [_readable(name), percent(share), percent(summary.neighbours.get(name, math.nan))]
        for name, share in summary.seam.items()
    ]
    return [_Table(["rows whose label changes, %", "at the seam", "between other columns"], rows)] if rows else []


def _yaw(metrics: Mapping[str, Any]) -> list[_Table]:
    """What changes when the camera turns; no table where nothing was turned."""
    turns = yaw_of(metrics.get("yaw", ()))
    if not turns:
        return []
    first = next(iter(turns.values()))
    rows = [
        [_readable(name), str(own.panoramas), *(percent(share) for changes in turns.values()
                                                for share in (changes[name].label, changes[name].coverage))]
        for name, own in first.items()
    ]  # fmt: skip
    columns = [f"{what}, {degrees:.1f}°" for degrees in turns for what in ("label", "coverage")]
    return [_Table(["pixels that a turn of the camera changes, %", "panoramas", *columns], rows)]


def _class_shares(summary: ConsensusSummary, labels: LabelSet) -> _Table:
    shares = summary.class_shares
    rows = [
        [name, *(percent(own[i]) if own else ABSENT for own in shares.values())] for i, name in enumerate(labels.names)
    ]
    return _Table(["share of the view, %", *map(_readable, shares)], rows)


def _step(change: float) -> str:
    return f"{100 * change:+.1f}" if math.isfinite(change) else ""


def _pair(summary: ConsensusSummary, row: str, column: str) -> str:
    value = summary.pairwise.get((row, column), summary.pairwise.get((column, row), float("nan")))
    return "" if row == column else percent(value)


def _readable(name: str) -> str:
    return name.replace("_", " ")


def _markdown(table: _Table) -> str:
    alignment = ["---", *("---:" for _ in table.head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (table.head, alignment, *table.rows))


def _aligned(table: _Table) -> str:
    widths = [max(map(len, column)) for column in zip(table.head, *table.rows, strict=True)]
    rules = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in (table.head, rules, *table.rows)
    )
