"""A student as a function from panorama to scores; what prediction and evaluation share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import LabelSet, named_classes
from pipeline.finite import require_finite
from pipeline.student.model import load_student, predict_logits
from stages.devices import describe_device


class Predictor(Protocol):
    """A network that predicts panoramas."""

    @property
    def label_set(self) -> LabelSet:
        """Its classes."""
        ...

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        ...

    @property
    def device(self) -> str:
        """Description of its device, for reports ("the CPU, 2 threads")."""
        ...

    def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Class scores [C, h, w] of an RGB panorama; h and w may be smaller than H and W."""
        ...


@dataclass(frozen=True)
class StudentPredictor:
    """A student on a device."""

    model: Any
    """SegFormer in eval mode."""
    label_set: LabelSet
    """Its classes."""
    torch_device: str
    """Name of the device that holds the model."""
    name: str = "the student"
    """Description, for messages."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def device(self) -> str:
        """The device's name, with the number of threads on a CPU."""
        return describe_device(self.torch_device, torch.get_num_threads())

    def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits at the student's own resolution: a quarter of the panorama's, as it sees it.

        Raises:
            WeightsError: they are NaN or infinite.
        """
        images = torch.tensor(image_HW3)[None].to(self.torch_device)
        logits_Chw = predict_logits(self.model, images)[0].cpu()
        require_finite(logits_Chw, self.name)
        return logits_Chw.numpy()


def load_predictor(folder: Path, device: str = "cpu") -> StudentPredictor:
    """The student of a folder, with the classes that its config names.

    Raises:
        WeightsError: the folder holds no student, or a broken one.
    """
    model: Any = load_student(folder)
    return StudentPredictor(
        model.to(device),
        named_classes(model.config.id2label, str(folder / "config.json")),
        device,
        f"the student {folder}",
    )
