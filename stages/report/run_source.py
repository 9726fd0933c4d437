"""A run as the source of a report: its cached maps are exported into its folder, with its student's and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stages.events import Listener, silent
from stages.export import ALL, WORKING, ExportJob, export
from stages.export_task import AGREEMENT
from stages.reading import RunReader
from stages.report.compared import STUDENT, TRUTH, ComparedMaps
from stages.report.evaluation import evaluation_html
from stages.report.source import ReportSource, read_source
from stages.runs import Run
from stages.splits import all_panoramas
from stages.students import StudentFolder

LAYERS = "report-layers"
"""Folder of a run that has the maps for its report."""
OUTPUTS = frozenset(("labels", "reliability", "confidence", "masks", "assistant", "unknown"))
"""Which maps; no overlays, as the pictures themselves are at hand."""


@dataclass(frozen=True)
class RunReport:
    """What a report on a run is made from."""

    source: ReportSource
    """Its panoramas, to learn from and to evaluate on, and their maps."""
    folder: Path
    """The exported maps."""
    pictures: tuple[Path, ...]
    """Folders of the pictures."""
    evaluation: str
    """HTML on what was measured; empty for nothing."""


@dataclass(frozen=True)
class RunReportOptions:
    """How the maps of a run are brought together."""

    title: str = ""
    """What the report is of; by default the run's name."""
    positions: Path | None = None
    """Table of where panoramas were taken, before their own tags."""
    with_student: bool = True
    """Whether the finished student, where there is one, predicts the panoramas."""
    device: str = "auto"
    """Where it does, as for `choose_device`."""
    command: str = "goodsam teacher-cache"
    """What computes the cache, for messages."""


def run_report(run: Run, options: RunReportOptions, listener: Listener = silent) -> RunReport:
    """Write the maps of a run that are missing or not up to date, and read its evaluation.

    Maps have the working size, as the networks saw the panoramas and as `goodsam eval` measures.

    Raises:
        GoodSAMError: as `export`; or the evaluation is damaged, or there is no such device.
    """
    folder, data = run.folder / LAYERS, run.recipe.data
    evaluation = evaluation_html(run.evaluation)
    outputs = OUTPUTS | ({AGREEMENT} if run.recipe.further_assistants else frozenset[str]())
    job = ExportJob(run, folder, outputs, split=ALL, size=WORKING, positions=options.positions, command=options.command)
    export(job, listener)
    reader = RunReader.open(run, all_panoramas(run.recipe))
    names = {id_: id_ if data.evaluation else id_.partition("/")[2] for id_ in reader.ids}
    compared = ComparedMaps(run, reader, names, folder, listener)
    more = {STUDENT: compared.student(options.device) if options.with_student else {},
            TRUTH: compared.truth() if data.labels else {}}  # fmt: skip
    found = read_source(folder, title=options.title or run.recipe.name)
    pictures = {names[id_]: path for id_, path in reader.paths.items()}
    panoramas = tuple(
        replace(panorama, picture=pictures[panorama.id], level=run.recipe.panorama.level,
                maps={**panorama.maps, **{kind: of[panorama.id] for kind, of in more.items() if panorama.id in of}})
        for panorama in found.panoramas if panorama.id in pictures
    )  # fmt: skip
    source = replace(found, panoramas=panoramas, layer_names={**found.layer_names, **_name_of_truth(run)},
                     notes=_notes(run, options, more))  # fmt: skip
    folders = tuple(Path(path) for path in (data.panoramas, data.evaluation) if path)
    return RunReport(source, folder, folders, evaluation)


def _name_of_truth(run: Run) -> dict[str, str]:
    return {TRUTH: "labels of a network"} if run.recipe.data.labels_by == "network" else {}


def _notes(run: Run, options: RunReportOptions, more: Mapping[str, Mapping[str, Path]]) -> tuple[str, ...]:
    """What the report of a run lacks, and how to get it."""
    has_student = StudentFolder(run.student).is_finished
    notes: list[str] = []
    if not has_student:
        train = options.command.replace("teacher-cache", "distill", 1)
        notes.append(f"The run has no finished student: `{train}` trains one.")
    elif options.with_student and not more[STUDENT]:
        notes.append("The run's student cannot be used: the command that wrote this report says why.")
    if not more[TRUTH]:
        notes.append("No panorama has a truth to compare with: data.labels names a folder of label maps.")
    return tuple(notes)
