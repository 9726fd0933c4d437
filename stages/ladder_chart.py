"""The ladder with its intervals as an SVG picture, drawn by matplotlib where that is installed (the extra `charts`).

Also what all such charts share.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING

from pipeline.evaluate.ladder import Rung

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTALL = "pip install -e '.[charts]'"
FILE = "ladder.svg"
_COLOUR = "#1b6ca8"
_PARTIAL = 0.999
"""Coverage below which a rung leaves out doubtful pixels."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def ladder_svg(rungs: Sequence[Rung]) -> str:
    """mIoU of every rung with its 95 % interval, the first at the top; hollow where doubtful pixels are left out.

    Args:
        rungs: at least one.

    Raises:
        ImportError: matplotlib is not installed (`can_draw`).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.9 + 0.36 * len(rungs)), layout="constrained")
    axes = figure.add_subplot()
    for place, rung in enumerate(rungs):
        miou, (low, high) = 100 * rung.miou, (100 * end for end in rung.miou_interval)
        if math.isfinite(low):
            axes.plot([low, high], [place, place], color=_COLOUR, linewidth=2)
        face = _COLOUR if rung.coverage >= _PARTIAL else "none"
        axes.plot(miou, place, "o", color=_COLOUR, markerfacecolor=face, markersize=8)
        axes.annotate(f"{miou:.1f}", (miou, place), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.set_yticks(range(len(rungs)), [rung.name.replace("_", " ") for rung in rungs])
    axes.set_ylim(len(rungs) - 0.5, -0.7)
    axes.set_xlabel("mIoU, %, and its 95 % interval over panoramas; hollow: doubtful pixels are left out")
    axes.grid(axis="x", alpha=0.3)
    return svg_of(figure)


def svg_of(figure: Figure) -> str:
    """A figure of matplotlib as SVG: equal figures, equal text."""
    import matplotlib as mpl

    drawn = StringIO()
    with mpl.rc_context({"svg.hashsalt": FILE, "svg.fonttype": "none"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def chart_html(svg: str, words: str) -> str:
    """A chart as an element of a page.

    Args:
        svg: the chart.
        words: what it shows, for people who do not see it.
    """
    content = base64.b64encode(svg.encode()).decode()
    return f'<p><img class="drawn" src="data:image/svg+xml;base64,{content}" alt="{words}"></p>'
