"""`goodsam predict`: a network over a folder of panoramas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.cli_options import DeviceOption, PositionsOption, WorkersOption, count_failures

DEMO_STUDENT = Path("cache/demo/student/final")
"""The network that is taken where none is named."""


def predict(
    panoramas: Annotated[Path, typer.Argument(help="Folder of panoramas, or a picture.")],
    out: Annotated[Path, typer.Argument(help="Folder for label maps, overlays and tables.")],
    model: Annotated[
        str,
        typer.Option(
            help="A student's folder (<run>/student/final) or its ONNX file; or any semantic network: a folder or name "
            "on the hub (OWNER/NAME), or another ONNX file; or demo, the embedded small network, to try things.",
            show_default=str(DEMO_STUDENT),
        ),
    ] = "",
    student: Annotated[
        Path | None, typer.Option(help="Folder of a network that is shown the whole panorama at once, as a student is.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe with the windows and views that a network other than a student is shown.")
    ] = "street",
    label_set: Annotated[
        str, typer.Option(help="Label set of such a network if it does not name its classes, as assistant.label_set.")
    ] = "",
    width: Annotated[
        int | None,
        typer.Option(help="Working width, pixels; by default as in the student's training or the recipe."),
    ] = None,
    vertical_fov: Annotated[
        float | None,
        typer.Option(help="Vertical field of view, degrees, below 180 for bands; by default as in training."),
    ] = None,
    ignore_mask: Annotated[
        str,
        typer.Option(help="Image whose non-zero pixels are ignored (the camera rig), or a folder with one per camera."),
    ] = "",
    ignore_border: Annotated[
        bool, typer.Option(help="Ignore a black border, where no camera looked; see --ignore-mask for anything else.")
    ] = True,
    level: Annotated[
        bool,
        typer.Option(help="Level pictures whose GPano tags call the camera tilted; labels keep their pixels."),
    ] = True,
    positions: PositionsOption = None,
    overlays: Annotated[bool, typer.Option(help="Also write pictures of the labels over the panoramas.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Recompute finished panoramas too.")] = False,
    workers: WorkersOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Run a network over a folder: indexed PNGs, overlays, class shares by solid angle. A rerun
    predicts only what is missing or has changed."""
    import goodsam
    from pipeline.errors import InputError
    from pipeline.panorama.finding import require_folder
    from stages.models import open_model, open_student, require_no_views

    if not panoramas.is_file():
        require_folder(panoramas)
    if model and student:
        raise InputError(f"both --model {model} and --student {student} are given", "one network predicts",
                         "Leave one of them out")  # fmt: skip
    if not model and not student and not DEMO_STUDENT.exists():
        raise InputError("--model names no network", f"without it, {DEMO_STUDENT} is taken, which is not here",
                         "Name a student's folder, an ONNX file or a network of the hub with --model; or demo, the "
                         "embedded one, to try things")  # fmt: skip
    if not model:
        require_no_views(f"--student {student or DEMO_STUDENT}", recipe, label_set)
    network = open_model(model, recipe, label_set) if model else open_student(student or DEMO_STUDENT)
    summary = goodsam.predict(
        panoramas, out, network, width=width, vertical_fov=vertical_fov, ignore_mask=ignore_mask,
        ignore_border=ignore_border, level=level, positions=positions, overlays=overlays, overwrite=overwrite,
        workers=workers, device=device,
    )  # fmt: skip
    count_failures(summary.failed)
