"""What goes to other programs and comes back: `goodsam.export_onnx` and `goodsam.import_labels`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from goodsam.listening import heard, shown
from pipeline.errors import InputError

if TYPE_CHECKING:
    from stages.events import Listener
    from stages.export_onnx import ExportReport
    from stages.import_labels import ImportSummary
    from stages.runs import Run

INPUT_TYPES = ("uint8", "float32")
"""What an exported network may take."""


def export_onnx(
    student: str | Path,
    out: str | Path | None = None,
    listener: Listener | None = None,
    *,
    input_type: str = "uint8",
    pictures: str | Path | None = None,
) -> ExportReport:
    """Write a student as one ONNX file, with wrapping and normalisation inside, and its model card.

    Args:
        student: its folder, as `distill` returns it.
        out: file ending with .onnx, or a folder for model.onnx; None: the folder onnx in the student's.
        listener: called with every event (`stages.events`); None: progress on the standard error.
        input_type: RGB pixels that the file takes: uint8 of 0 to 255, or float32 of 0 to 1.
        pictures: folder of panoramas to compare it with torch on; None: rendered streets.

    Returns:
        The `path`, its `size` in bytes, the share of pixels with torch's label (`agreement`, 0 to 1), and the
        milliseconds per panorama of both.

    Raises:
        WeightsError: there is no student, onnxscript or onnxruntime is missing, or fewer than 99.9 % of the labels are
            torch's; nothing is written then.
        InputError: another input type, or `pictures` has none that can be used.
        CacheError: the file cannot be written.
    """
    from pipeline.panorama.finding import require_folder
    from pipeline.student.folder import require_student

    if input_type not in INPUT_TYPES:
        raise InputError(
            f"the input type {input_type!r}", f"it is one of {', '.join(INPUT_TYPES)}", "Choose one of these"
        )
    require_student(Path(student))
    if pictures is not None:
        require_folder(Path(pictures))
    from stages.export_onnx import ExportJob
    from stages.export_onnx import export_onnx as stage  # last: it imports torch and transformers

    job = ExportJob(Path(student), Path(out) if out is not None else None, input_type,
                    Path(pictures) if pictures is not None else None)  # fmt: skip
    with shown(listener) as hearing:
        return stage(job, hearing)


def import_labels(
    run: Run, source: str | Path, out: str | Path | None = None, listener: Listener | None = None
) -> ImportSummary:
    """Store corrected labels, matched to the panoramas of a run by name and content. A student then learns from them:
    `open_run(..., settings=["data.corrections=..."])`.

    Args:
        run: whose panoramas they are of.
        source: folder of PNGs, or an export of CVAT for images 1.1 or of Label Studio (JSON).
        out: folder of corrections; None: `data.corrections`, or `corrections` in the run's folder.
        listener: called with every event (`stages.events`); None: progress on the standard error, and every event in
            the run's log.jsonl.

    Returns:
        The `folder`; how many corrections are new (`stored`), were there already (`known`), or are as they were
        exported (`unchanged`); and those set aside (`failed`: name -> reason).

    Raises:
        InputError: the source is nothing that can be imported, is damaged (then nothing is stored), or none of it could
            be used.
        CacheError: corrections cannot be written.
    """
    from stages.import_labels import import_labels as stage

    own = run.recipe.data.corrections
    folder = Path(out) if out is not None else Path(own) if own else run.folder / "corrections"
    with heard(listener, run.folder) as hearing:
        return stage(run, Path(source), folder, hearing)
