"""Export a student as one ONNX file, compared with torch before it is written.

<out>/
    model.onnx     the student: wrapping and normalisation inside; metadata say its classes and working size
    README.md      its model card
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline import __version__
from pipeline.errors import InputError, WeightsError
from pipeline.evaluate.metrics import labels_at
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import find_panoramas
from pipeline.panorama.images import open_panorama
from pipeline.student.config import WRAP
from pipeline.student.onnx_graph import OPSET, student_onnx
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import DEMO_EVALUATION
from stages.devices import describe_device
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted, silent
from stages.files import require_writable, write_whole
from stages.model_card import write_model_card
from stages.models import EXPORTED, KIND
from stages.onnx_predictor import OnnxPredictor, load_onnx_student
from stages.predictor import Predictor, StudentPredictor, load_predictor
from stages.training_record import RECORD, training_geometry

STAGE = "export-onnx"
LEAST_AGREEMENT = 0.999
"""Share of the pixels whose label must be torch's."""
PICTURES = 2
"""Panoramas on which both are compared."""
TIMED_RUNS = 5
"""Predictions of each, in turn, whose median is told."""
UNTOLD_WIDTH = 1024
"""Working width for the comparison where the student's folder does not tell its own."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ExportJob:
    """What to export, and where to."""

    student: Path
    """Folder of the student."""
    out: Path | None = None
    """The file (.onnx), or a folder for model.onnx; None for the folder `onnx` in that of the student."""
    input_type: str = "uint8"
    """uint8 (RGB of 0..255) or float32 (RGB of 0..1)."""
    pictures: Path | None = None
    """Folder of panoramas for the comparison; None for street scenes of the built-in world."""

    @property
    def path(self) -> Path:
        """The file that is written."""
        out = self.out or self.student / "onnx"
        return out if out.suffix == ".onnx" else out / EXPORTED


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with torch."""

    path: Path
    """The file."""
    size: int
    """Its bytes."""
    agreement: float
    """Share of the compared pixels with the same label, 0..1."""
    pixels: int
    """How many were compared."""
    width: int
    """Width of the panoramas that were compared."""
    height: int
    """Their height."""
    torch_ms: float
    """Milliseconds per panorama of torch, median."""
    onnx_ms: float
    """Milliseconds per panorama of ONNX Runtime, median."""
    device: str
    """Where both ran."""

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        return (
            f"{self.path}: {self.size / 1e6:.1f} MB, opset {OPSET}\n"
            f"labels equal to torch's on {100 * self.agreement:.3f} % of {self.pixels:,} pixels\n"
            f"ONNX Runtime {self.onnx_ms:.0f} ms, torch {self.torch_ms:.0f} ms per panorama of {size} "
            f"(medians of {TIMED_RUNS}, {self.device})"
        )


def export_onnx(job: ExportJob, listener: Listener = silent) -> ExportReport:
    """Export a student, compare it with torch, and write file and model card.

    Raises:
        WeightsError: no student there, onnxscript or onnxruntime is missing, or labels differ from torch's on more than
            1 - LEAST_AGREEMENT of the pixels; nothing is written then.
        InputError: the folder of pictures has none that can be used.
        CacheError: the file cannot be written.
    """
    began = time.monotonic()
    student = load_predictor(job.student)
    require_writable(job.path)
    config = training_geometry(job.student)
    if not (job.student / RECORD).is_file():
        config = PanoramaConfig(UNTOLD_WIDTH)
    images = _pictures(job.pictures, config)
    listener(StageStarted(STAGE, 2, "steps"))
    content = student_onnx(student.model, job.input_type, _facts(job, student))
    listener(StageAdvanced(STAGE, 1, "exported", time.monotonic() - began))
    exported = load_onnx_student(content, name=f"the exported student {job.student}")
    agreement = _agreement(student, exported, images)
    if agreement < LEAST_AGREEMENT:
        found = f"the exported network gives the student's labels on only {100 * agreement:.2f} % of the pixels"
        raise WeightsError(found, f"at least {100 * LEAST_AGREEMENT:.1f} % must be the same, so nothing was written",
                           "Install torch, onnxscript and onnxruntime as in constraints.txt")  # fmt: skip
    torch_ms, onnx_ms = _milliseconds(student, exported, images[0])
    height, width = images[0].shape[:2]
    report = ExportReport(job.path, len(content), agreement, len(images) * height * width, width, height, torch_ms,
                          onnx_ms, describe_device("cpu", torch.get_num_threads()))  # fmt: skip
    write_whole(job.path, content)
    if not write_model_card(job.student, job.path.parent, _chapter(job, report)):
        listener(Note(STAGE, f"{job.path.parent / 'README.md'} is not a model card of GoodSAM, and was not changed"))
    listener(StageFinished(STAGE, time.monotonic() - began, {"file": str(job.path)}))
    return report


def _facts(job: ExportJob, student: StudentPredictor) -> dict[str, object]:
    """The file's metadata."""
    labels, facts = student.label_set, dict[str, object]()
    if (job.student / RECORD).is_file():
        config = training_geometry(job.student)
        facts = {"working_size": [config.height, config.width], "vertical_fov": config.vertical_fov}
    return {
        "kind": KIND, "goodsam": __version__, "classes": labels.names, "label_set": labels.name,
        "palette": labels.palette, "parameters": student.parameters, "opset": OPSET, "wrap": WRAP,
        "input": "RGB of 0..255" if job.input_type == "uint8" else "RGB of 0..1",
        "output": "logits at a coarser size; resize them bilinearly (align_corners=False), then argmax",
        **facts,
    }  # fmt: skip


def _pictures(folder: Path | None, config: PanoramaConfig) -> list[Image]:
    """Panoramas of the working size: the first of a folder that can be opened, or street scenes.

    Raises:
        InputError: none of the folder can be used.
    """
    if folder is None:
        return [_street(seed, config) for seed in DEMO_EVALUATION[:PICTURES]]
    found, error = list[Image](), None
    for file in find_panoramas(folder):
        try:
            found.append(open_panorama(file.path, config).image_HW3)
        except InputError as refused:
            error = refused
        if len(found) == PICTURES:
            break
    if not found and error is not None:
        raise error
    return found


def _street(seed: int, config: PanoramaConfig) -> Image:
    """A street of the built-in world, of which a band is cut out where the panoramas are bands."""
    sphere_HW3 = render_panorama(build_scene(seed), config.width // 2, config.width).image_HW3
    top = (sphere_HW3.shape[0] - config.height) // 2
    return sphere_HW3[top : top + config.height] if top > 0 else sphere_HW3[: config.height]


def _agreement(student: Predictor, exported: Predictor, images: list[Image]) -> float:
    """Share of the pixels to which both give the same label."""
    equal = [
        float(np.mean(labels_at(student(image), *image.shape[:2]) == labels_at(exported(image), *image.shape[:2])))
        for image in images
    ]
    return statistics.fmean(equal)


def _milliseconds(student: StudentPredictor, exported: OnnxPredictor, image: Image) -> tuple[float, float]:
    """Medians of (torch, ONNX Runtime), measured in turn so that what else the machine does meets both."""

    def timed(predict: Callable[[Image], Any]) -> float:
        began = time.perf_counter()
        predict(image)
        return 1000 * (time.perf_counter() - began)

    pairs = [(timed(student), timed(exported)) for _ in range(TIMED_RUNS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def _chapter(job: ExportJob, report: ExportReport) -> str:
    """The chapter on the file in the model card beside it."""
    example = (
        "images = np.asarray(panorama).transpose(2, 0, 1)[None]"
        if job.input_type == "uint8"
        else "images = np.asarray(panorama, np.float32).transpose(2, 0, 1)[None] / 255"
    )
    return (
        f"## The ONNX file\n\n`{job.path.name}` (opset {OPSET}) takes `images` [batch, 3, height, width], "
        f"{job.input_type} RGB, width and height multiples of 32, the width at least 64, and gives `logits` [batch, "
        "classes, rows, columns], which are coarser than the image: resize them bilinearly, then take the largest. "
        "Wrapping over the seam and normalisation are inside. Its labels are torch's "
        f"on {100 * report.agreement:.3f} % of the pixels. Classes and colours are in its metadata.\n\n"
        f'    session = onnxruntime.InferenceSession("{job.path.name}")\n    {example}\n'
        '    logits = session.run(None, {"images": images})[0]\n'
    )
