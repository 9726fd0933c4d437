"""A run as the source of a report: its cached maps are exported into its folder, and its evaluation is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.events import Listener, silent
from stages.export import ExportJob, export
from stages.report.evaluation import evaluation_html
from stages.runs import Run

MAPS = "report-maps"
"""Folder of a run that has the maps for its report."""
OUTPUTS = frozenset(("labels", "reliability", "confidence", "masks"))
"""Which maps; no overlays, as the pictures themselves are at hand."""


@dataclass(frozen=True)
class RunReport:
    """What a report on a run is made from."""

    folder: Path
    """The exported maps."""
    panoramas: Path
    """The pictures."""
    evaluation: str
    """HTML on what was measured; empty for nothing."""


def run_report(run: Run, command: str, listener: Listener = silent) -> RunReport:
    """Export the maps of a run that are missing or not up to date, and read its evaluation.

    Args:
        run: recipe and folder.
        command: what computes the cache, for messages.
        listener: hears the events.

    Raises:
        GoodSAMError: as `export`; or the evaluation is damaged.
    """
    folder = run.folder / MAPS
    export(ExportJob(run, folder, OUTPUTS, command=command), listener)
    return RunReport(folder, Path(run.recipe.data.panoramas), evaluation_html(run.evaluation))
