"""`goodsam report`: a folder of maps, or a run, as a page to look at and pass around."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import CacheOption, DeviceOption, SetOption, command_of, count_failures, open_run_of


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
    positions: Annotated[
        Path | None,
        typer.Option(help="Of a run: CSV of where its panoramas were taken; else their EXIF says it."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Folder of label maps that people made, named as the panoramas: shown as a layer, and the maps are "
            "measured by them. A run has its own (data.labels)."
        ),
    ] = None,
    labels_set: Annotated[
        str,
        typer.Option(
            help="Label set of the files in --truth, if another one; merged into the maps' classes.", show_default=False
        ),
    ] = "",
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Another folder of maps of the same panoramas, shown as a layer; may be repeated."),
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="One file instead of a folder.")] = False,
    viewer: Annotated[bool, typer.Option(help="Include the 360-degree viewer; without it the report is small.")] = True,
    width: Annotated[
        int | None,
        typer.Option(
            help="Of the viewer's pictures, pixels, up to 4096; by default 2048, with --single 1024.",
            show_default=False,
        ),
    ] = None,
    student: Annotated[
        bool, typer.Option(help="Of a run: let its student predict the panoramas, for a layer of the viewer.")
    ] = True,
    title: Annotated[str, typer.Option(help="Heading; by default the source's name.", show_default=False)] = "",
    cache: CacheOption = None,
    set_: SetOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write maps, figures and a 360-degree viewer as a page that opens offline by double click."""
    import goodsam

    shown = open_run_of(source, cache, set_) if _is_run(source) else source
    summary = goodsam.report(
        shown, out, panoramas=panoramas, positions=positions, truth=truth, labels_set=labels_set,
        compare=compare or (), title=title, single=single, viewer=viewer, width=width,
        student=student, device=device, command=command_of("teacher-cache", source, cache, set_),
    )  # fmt: skip
    count_failures(summary.failed)
    typer.echo(f"report: {summary.page}")


def _is_run(source: str) -> bool:
    """Whether a source is a recipe: a TOML file, or the name of a built-in one and no folder of maps."""
    from stages.report.source import TABLE
    from stages.runs import BUILT_IN

    if source.endswith(".toml"):
        return True
    return (BUILT_IN / f"{source}.toml").is_file() and not (Path(source) / TABLE).is_file()
