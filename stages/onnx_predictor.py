"""A student from an ONNX file, as a function from panorama to scores; needs the optional onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet, named_classes
from pipeline.errors import WeightsError, first_line
from pipeline.finite import require_finite
from pipeline.onnx_session import open_session
from pipeline.panorama.config import PanoramaConfig
from stages.devices import describe_device
from stages.models import KIND

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_REMEDY = "Write it again with `goodsam export-onnx`"


@dataclass(frozen=True)
class OnnxPredictor:
    """See `stages.predictor.Predictor`."""

    session: InferenceSession
    label_set: LabelSet
    parameters: int
    torch_device: str
    name: str
    """What it is, for messages."""

    @property
    def device(self) -> str:
        """The device's name, with the number of threads on a CPU."""
        runs_on_gpu = self.session.get_providers()[0] == "CUDAExecutionProvider"
        return f"{describe_device(self.torch_device if runs_on_gpu else 'cpu', torch.get_num_threads())}, ONNX Runtime"

    def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits [C, H/4, W/4] of an RGB panorama.

        Raises:
            WeightsError: the network cannot take the image, or gives NaN or infinity.
        """
        entry = self.session.get_inputs()[0]
        images = np.ascontiguousarray(image_HW3.transpose(2, 0, 1)[None])
        if entry.type == "tensor(float)":
            images = images.astype(np.float32) / np.float32(255)
        try:
            logits: Any = self.session.run(["logits"], {entry.name: images})[0]
        except Exception as error:  # onnxruntime's errors have no common base
            size = f"{image_HW3.shape[1]}x{image_HW3.shape[0]}"
            raise WeightsError(f"{self.name} cannot predict a panorama of {size} pixels ({first_line(error)})",
                               "width and height are multiples of 32, the width at least 64",
                               "Choose another --width") from error  # fmt: skip
        require_finite(torch.from_numpy(logits), self.name)
        return np.asarray(logits[0], np.float32)


def load_onnx_student(source: Path | bytes, device: str = "cpu", name: str = "") -> OnnxPredictor:
    """A student from the ONNX file that `goodsam export-onnx` wrote, or from its content.

    Raises:
        WeightsError: onnxruntime is not installed, or it is no such file.
    """
    name = name or f"the student {source if isinstance(source, Path) else 'in memory'}"
    session = open_session(source, torch.device(device), name, _REMEDY)
    facts = student_facts(session)
    if facts is None:
        raise WeightsError(f"{name} is an ONNX file, but not of a student",
                           "the metadata of a student's file name its classes", _REMEDY)  # fmt: skip
    try:
        labels = named_classes(dict(enumerate(json.loads(facts["classes"]))), facts["label_set"])
        return OnnxPredictor(session, labels, int(facts["parameters"]), device, name)
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{name} has damaged metadata ({type(error).__name__}: {error})",
                           "they must name classes and parameters", _REMEDY) from error  # fmt: skip


def student_facts(session: InferenceSession) -> Mapping[str, str] | None:
    """The metadata of a student's ONNX file; None where it is another network's."""
    facts: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return facts if facts.get("kind") == KIND else None


def geometry_of_training(facts: Mapping[str, str]) -> PanoramaConfig:
    """Working width and field of view of an exported student's training; the usual ones where it does not tell."""
    if "working_size" not in facts:
        return PanoramaConfig()
    return PanoramaConfig(int(json.loads(facts["working_size"])[1]), float(facts["vertical_fov"]))
