"""`goodsam report`: a folder of maps, or a run, as a page to look at and pass around."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import CacheOption, SetOption, command_of, count_failures, open_run_of


def report(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder that `goodsam export` or `goodsam predict` wrote; or a run's recipe, by name or TOML file."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="Folder for the report, or with --single its file; by default report, or report.html, in the source.",
            show_default=False,
        ),
    ] = None,
    panoramas: Annotated[
        Path | None, typer.Option(help="Folder of the pictures that the maps were made from; else overlays are shown.")
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="One file instead of a folder.")] = False,
    viewer: Annotated[bool, typer.Option(help="With the 360-degree viewer; --no-viewer takes little room.")] = True,
    width: Annotated[
        int | None,
        typer.Option(
            help="Of the viewer's pictures, pixels, up to 4096; by default 2048, with --single 1024.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Heading; by default the source's name.", show_default=False)] = "",
    cache: CacheOption = None,
    set_: SetOption = None,
) -> None:
    """Write maps, figures and a 360-degree viewer as a page that opens offline by double click."""
    from contextlib import closing

    from pipeline.panorama.finding import require_folder
    from stages.listeners import ProgressConsole
    from stages.report.source import read_source
    from stages.report.write import ReportJob
    from stages.report.write import write_report as stage

    if panoramas:
        require_folder(panoramas)
    with closing(ProgressConsole()) as listener:
        folder, place, evaluation = Path(source), Path(source), ""
        if _is_run(source):
            from stages.report.run_source import run_report

            run = open_run_of(source, cache, set_)
            found = run_report(run, command_of("teacher-cache", source, cache, set_), listener)
            folder, place, evaluation = found.folder, run.folder, found.evaluation
            panoramas, title = panoramas or found.panoramas, title or run.recipe.name
        shown = read_source(folder, panoramas, title)
        out = out or place / ("report.html" if single else "report")
        job = ReportJob(shown, folder, out, single, viewer, width or (1024 if single else 2048), evaluation, panoramas)
        summary = stage(job, listener)
    count_failures(summary.failed)
    typer.echo(f"report: {summary.page}")


def _is_run(source: str) -> bool:
    """Whether a source is a recipe: a TOML file, or the name of a built-in one and no folder of maps."""
    from stages.report.source import TABLE
    from stages.runs import BUILT_IN

    if source.endswith(".toml"):
        return True
    return (BUILT_IN / f"{source}.toml").is_file() and not (Path(source) / TABLE).is_file()
