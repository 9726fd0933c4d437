"""The section of the page on how far label maps agree: measured by the truth, and beside the report's own labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from statistics import fmean

from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.evaluate.report import percent
from stages.report.agreement import LABELS, Agreement
from stages.report.evaluation import paragraph, table

_MEASURED = (
    "By the truth, where there is one. mIoU is the mean over classes of the overlap between truth and map (100 is "
    "perfect); right is the share of what both label, covered the share of the truth for which a map has a label. All "
    "are by solid angle, on pictures of the viewer's size: `goodsam eval` measures as the field's tables do."
)
_BESIDE = "Of what a map and the {} both have a class for, the share where the classes differ; the mean over panoramas."


def agreement_html(
    agreements: Sequence[Agreement], layers: Sequence[str], names: Mapping[str, str], *, is_measured: bool
) -> str:
    """The section; empty where there is nothing to compare.

    Args:
        agreements: of every panorama.
        layers: those that are compared, in the order of the rows.
        names: what layers are called.
        is_measured: whether another section tells of the truth already.
    """
    parts = ["" if is_measured else _by_truth(agreements, layers, names), _beside(agreements, layers, names)]
    if not any(parts):
        return ""
    return f'<section aria-labelledby="compared"><h2 id="compared">How maps agree</h2>{"".join(parts)}</section>'


def _by_truth(agreements: Sequence[Agreement], layers: Sequence[str], names: Mapping[str, str]) -> str:
    rows: list[list[str]] = []
    for key in (LABELS, *layers):
        found = [own.truth[key] for own in agreements if key in own.truth]
        if found:
            matrix = reduce(_sum, found, ConfusionMatrix(found[0].classes, weighted=True))
            rows.append([names[key], percent(matrix.miou), percent(matrix.accuracy), percent(matrix.coverage),
                         str(len(found))])  # fmt: skip
    head = ["map", "mIoU, %", "right, %", "covered, %", "panoramas"]
    return paragraph(_MEASURED) + table(head, rows) if rows else ""


def _sum(all_: ConfusionMatrix, one: ConfusionMatrix) -> ConfusionMatrix:
    all_.include(one)
    return all_


def _beside(agreements: Sequence[Agreement], layers: Sequence[str], names: Mapping[str, str]) -> str:
    rows = [[names[key], percent(fmean(found)), str(len(found))]
            for key in layers if (found := [own.differs[key] for own in agreements if key in own.differs])]  # fmt: skip
    head = ["map", f"differs from the {names[LABELS]}, %", "panoramas"]
    return paragraph(_BESIDE.format(names[LABELS])) + table(head, rows) if rows else ""
