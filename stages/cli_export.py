"""`goodsam export-onnx`: a student as one ONNX file; `goodsam export`: the cached ensemble as maps."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import (
    CacheOption,
    PositionsOption,
    RecipeArgument,
    SetOption,
    WorkersOption,
    command_of,
    count_failures,
    open_run_of,
)


class InputType(StrEnum):
    """What the exported network takes."""

    UINT8 = "uint8"
    FLOAT32 = "float32"


def export_onnx(
    student: Annotated[Path, typer.Argument(help="Folder of the student, <run>/student/final.")],
    out: Annotated[
        Path | None,
        typer.Argument(
            help="File ending with .onnx, or a folder for model.onnx; by default the folder onnx in the student's.",
            show_default=False,
        ),
    ] = None,
    input_type: Annotated[
        InputType, typer.Option("--input", help="RGB pixels that it takes: uint8 of 0..255, or float32 of 0..1.")
    ] = InputType.UINT8,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder of panoramas for the comparison with torch; by default rendered streets."),
    ] = None,
) -> None:
    """Export a student as one ONNX file with wrapping and normalisation inside, and compare it with torch."""
    import goodsam

    typer.echo(goodsam.export_onnx(student, out, input_type=input_type.value, pictures=pictures))


class Split(StrEnum):
    """Panoramas that are exported."""

    PANORAMAS = "panoramas"
    EVALUATION = "evaluation"
    ALL = "all"


class FormatName(StrEnum):
    """Formats of an export."""

    MASKS = "masks"
    COCO = "coco"
    CVAT = "cvat"
    LABELSTUDIO = "labelstudio"
    CROPS = "crops"
    HF_DATASET = "hf-dataset"


class Size(StrEnum):
    """Size of exported maps."""

    ORIGINAL = "original"
    WORKING = "working"


def export(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Argument(help="Folder for maps and tables, new or of an earlier export.")],
    cache: CacheOption = None,
    set_: SetOption = None,
    format_: Annotated[
        FormatName,
        typer.Option(
            "--format",
            help="Maps as pictures; or for COCO's tools, CVAT (for images 1.1), Label Studio, Hugging Face datasets; "
            "or perspective crops with their labels.",
        ),
    ] = FormatName.MASKS,
    what: Annotated[
        str | None,
        typer.Option(
            help="Which maps, with commas: labels, reliable, reliability, confidence, masks, overlays, mask-overlays, "
            "assistant, unknown, unknown-overlays, agreement. By default with --format masks the first six and, where "
            "several assistants vote, agreement; with other formats none.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Split, typer.Option(help="Panoramas of data.panoramas, of data.evaluation, or all (in a folder for each).")
    ] = Split.PANORAMAS,
    size: Annotated[
        Size, typer.Option(help="The picture's own size, or the working size as the networks saw it.")
    ] = Size.ORIGINAL,
    positions: PositionsOption = None,
    url_prefix: Annotated[
        str, typer.Option(help="What stands before a picture's path in the tasks for Label Studio.")
    ] = "/data/local-files/?d=",
    views: Annotated[
        str,
        typer.Option(
            help="How the views of --format crops differ from the recipe's, as in "
            "level=8,down=0,up=0,nadir=0,zenith=0,fov=90."
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option(help="Write finished panoramas anew, too.")] = False,
    workers: WorkersOption = 0,
) -> None:
    """Write the cached ensemble of stage one as maps, overlays and tables; no student is needed.

    A rerun writes only what is missing or has changed.
    """
    run = open_run_of(recipe, cache, set_)
    import goodsam

    wanted = None if what is None else [name.strip() for name in what.split(",") if name.strip()]
    summary = goodsam.export(
        run, out, format=format_.value, what=wanted, split=split.value, size=size.value, positions=positions,
        url_prefix=url_prefix, views=views, overwrite=overwrite, workers=workers,
        command=command_of("teacher-cache", recipe, cache, set_),
    )  # fmt: skip
    count_failures(summary.failed)
