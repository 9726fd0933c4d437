"""How class shares spread over the panoramas, as an SVG picture, where matplotlib is installed (the extra `charts`)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.classes import LabelSet
from stages.ladder_chart import svg_of
from stages.report.charts import class_colour

LEAST_PANORAMAS = 5
"""A box of fewer says nothing."""


def share_svg(shares: Sequence[Sequence[float]], labels: LabelSet) -> str:
    """A box per class, the largest mean at the top.

    Args:
        shares: of every panorama, per class and last what was not seen.
        labels: names and colours of the classes.

    Raises:
        ImportError: matplotlib is not installed (`can_draw`).
    """
    from matplotlib.figure import Figure

    order = sorted(range(len(labels)), key=lambda number: -sum(own[number] for own in shares))
    figure = Figure(figsize=(8, 0.9 + 0.3 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.boxplot([[100 * own[number] for own in shares] for number in order], orientation="horizontal",
                         whis=(0, 100), widths=0.6, patch_artist=True, medianprops={"color": "black"})  # fmt: skip
    for number, box in zip(order, drawn["boxes"], strict=True):
        box.set_facecolor(f"{class_colour(labels, number)}b0")
    axes.set_yticks(range(1, len(order) + 1), [labels.names[number] for number in order])
    axes.invert_yaxis()
    axes.set_xlabel("share of a panorama, %; box: the middle half of the panoramas, bar: the median, line: all of them")
    axes.grid(axis="x", alpha=0.3)
    return svg_of(figure)
