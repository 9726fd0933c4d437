"""What is made of a run, or of a folder of maps, for others: `goodsam.export` and `goodsam.report`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from goodsam.listening import heard, shown
from pipeline.errors import InputError

if TYPE_CHECKING:
    from stages.events import Listener
    from stages.export import ExportSummary
    from stages.report.source import ReportSource
    from stages.report.write import ReportSummary
    from stages.runs import Run

USUAL_MAPS = ("labels", "reliable", "reliability", "confidence", "masks", "overlays")
"""What an export writes where nothing is said; of several assistants also their agreement."""
WIDTH, WIDTH_OF_SINGLE = 2048, 1024


def export(
    run: Run,
    out: str | Path,
    listener: Listener | None = None,
    *,
    format: str = "masks",  # noqa: A002 - as on the command line
    what: Iterable[str] | None = None,
    split: str = "panoramas",
    size: str = "original",
    positions: str | Path | None = None,
    url_prefix: str = "/data/local-files/?d=",
    views: str = "",
    overwrite: bool = False,
    workers: int = 0,
    command: str = "goodsam teacher-cache",
) -> ExportSummary:
    """Write the cached ensemble of a run as maps, overlays and tables. A rerun does only what is missing or changed.

    Args:
        run: one whose stage one has run; no student is needed.
        out: folder, new or of an earlier export of this kind.
        listener: called with every event (`stages.events`); None: progress on the standard error, and every event in
            `out`/.export/log.jsonl.
        format: masks, coco, cvat, labelstudio, crops or hf-dataset.
        what: which maps, by the names of their folders; None: the usual ones, and none beside another format.
        split: panoramas, evaluation or all.
        size: original, or working: the size in which the networks saw the panoramas.
        positions: a CSV of where panoramas were taken, before their EXIF.
        url_prefix: what stands before a picture's path in tasks for Label Studio.
        views: how the views of crops differ from the recipe's, as in "level=8,fov=90".
        overwrite: whether to write finished panoramas anew.
        workers: processes on this machine; 0 works in this one.
        command: what computes the cache of the run, for messages.

    Returns:
        How many panoramas were written now (`written`) and before (`kept`), those set aside (`failed`: name -> reason),
        and how many are not in the cache (`left_out`).

    Raises:
        InputError: no panoramas, an unknown map or format, or `out` holds something else.
        CacheError: the cache has nothing of this recipe, or a file cannot be written.
    """
    from stages.demo_world import world_needed
    from stages.export import ExportJob
    from stages.export import export as stage
    from stages.export_formats import FORMATS

    if format not in FORMATS:
        raise InputError(f"the format {format!r}", f"an export is one of {', '.join(FORMATS)}", "Choose one of these")
    usual = (*USUAL_MAPS, *(("agreement",) if run.recipe.further_assistants else ()))
    maps = (usual if format == "masks" else ()) if what is None else what
    job = ExportJob(run, Path(out), frozenset(maps), format, split, size, Path(positions) if positions else None,
                    overwrite, workers, url_prefix, command, views)  # fmt: skip
    with heard(listener, job.out / ".export") as hearing, world_needed(run):
        return stage(job, hearing)


def report(
    source: Run | str | Path,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    panoramas: str | Path | None = None,
    positions: str | Path | None = None,
    truth: str | Path | None = None,
    labels_set: str = "",
    compare: Iterable[str | Path] = (),
    title: str = "",
    single: bool = False,
    viewer: bool = True,
    width: int | None = None,
    student: bool = True,
    device: str = "auto",
    command: str = "goodsam teacher-cache",
) -> ReportSummary:
    """Write maps, figures and a 360-degree viewer as a page that opens offline. A rerun makes only what has changed.

    Args:
        source: a run whose stage one has run; or a folder that `export` or `predict` has written.
        out: folder of the report, or with `single` its file, new or of an earlier report; None: `report`, or
            `report.html`, in the folder of the source.
        listener: called with every event (`stages.events`); None: progress on the standard error.
        panoramas: folder of the pictures that a folder of maps was made from; a run knows its own.
        positions: a CSV of where the panoramas of a run were taken, before their EXIF.
        truth: folder of label maps that people made of the panoramas of a folder of maps, named as `goodsam eval` has
            them; a run knows its own.
        labels_set: classes of these label maps, if others (merged).
        compare: folders that `export` or `predict` wrote of the same panoramas, each for a layer of the viewer.
        title: heading; by default the source's name.
        single: one file instead of a folder.
        viewer: whether it has the 360-degree viewer.
        width: of the viewer's pictures, pixels, 256 to 4096; None: 2048, in a single file 1024.
        student: whether the finished student of a run, where there is one, predicts its panoramas for the viewer.
        device: where it does: cpu, cuda, cuda:1, or auto (cuda where there is one).
        command: what computes the cache of a run, for messages.

    Returns:
        The `page` to open; how many panoramas' pictures were made now (`made`) and before (`kept`), and those that
        cannot be read (`failed`: name -> reason), whose figures are in the report all the same.

    Raises:
        InputError: the source is no such folder, or `out` holds something else or lies among the pictures.
        CacheError: a run has no cache, or a file cannot be written.
        GoodSAMError: see its message.
    """
    from stages.report.other_maps import OtherMaps, with_other_maps
    from stages.report.write import ReportJob, require_free, write_report

    others = OtherMaps(Path(truth) if truth is not None else None, labels_set, tuple(map(Path, compare)))
    place = Path(source) if isinstance(source, str | Path) else source.folder
    target = Path(out) if out is not None else place / ("report.html" if single else "report")
    require_free(target, single)
    size = width or (WIDTH_OF_SINGLE if single else WIDTH)
    if isinstance(source, str | Path):
        found = _folder_of_maps(place, panoramas, positions, title)
        with shown(listener) as hearing:
            found = with_other_maps(found, others, hearing)
            job = ReportJob(found, place, target, single, viewer, size, pictures=_paths(panoramas))
            return write_report(job, hearing)
    if panoramas is not None:
        raise InputError(f"--panoramas {panoramas}", "a run's recipe names its pictures",
                         "Leave --panoramas out; --set data.panoramas=FOLDER says where they are now")  # fmt: skip
    if truth is not None:
        raise InputError(f"--truth {truth}", "a run's recipe names its labels",
                         "Leave --truth out; --set data.labels=FOLDER says where they are")  # fmt: skip
    from stages.report.run_source import RunReportOptions, run_report

    options = RunReportOptions(title, Path(positions) if positions else None, student, device, command)
    with shown(listener) as hearing:
        found = run_report(source, options, hearing)
        of_all = with_other_maps(found.source, others, hearing)
        job = ReportJob(of_all, found.folder, target, single, viewer, size, found.evaluation, found.pictures)
        return write_report(job, hearing)


def _folder_of_maps(
    folder: Path, panoramas: str | Path | None, positions: str | Path | None, title: str
) -> ReportSource:
    """What a folder of maps has, with the pictures that it was made from."""
    from pipeline.panorama.finding import require_folder
    from stages.report.source import read_source

    if positions is not None:
        raise InputError(f"--positions {positions}", "the tables of a folder of maps have positions already",
                         "Give it to the export or prediction that writes the folder")  # fmt: skip
    if panoramas is not None:
        require_folder(Path(panoramas))
    return read_source(folder, Path(panoramas) if panoramas is not None else None, title)


def _paths(folder: str | Path | None) -> tuple[Path, ...]:
    return () if folder is None else (Path(folder),)
