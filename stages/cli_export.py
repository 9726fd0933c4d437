"""`goodsam export-onnx`: a student as one ONNX file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    from pipeline.panorama.finding import require_folder
    from pipeline.student.folder import require_student

    require_student(student)
    if pictures is not None:
        require_folder(pictures)
    from stages.export_onnx import ExportJob
    from stages.export_onnx import export_onnx as stage  # last: it imports torch and transformers

    typer.echo(stage(ExportJob(student, out, input_type.value, pictures)))
