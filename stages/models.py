"""The networks that `goodsam predict` takes, known by what they are before the libraries that run them are imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.settings import fingerprint
from pipeline.student.folder import require_student
from stages.files import digest
from stages.training_record import trained_on

if TYPE_CHECKING:
    from stages.predictor import Predictor


class Model(Protocol):
    """A network that predicts panoramas, and how it is shown them."""

    @property
    def identity(self) -> str:
        """Names the network by its content, and how it is shown panoramas: other outputs, other name."""
        ...

    @property
    def usual(self) -> PanoramaConfig:
        """Working width and field of view at which it is used unless the user says otherwise."""
        ...

    @property
    def gives_probabilities(self) -> bool:
        """Whether its scores are probabilities; logits otherwise."""
        ...

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """The network on a device, for panoramas of a working size.

        Raises:
            WeightsError: it cannot be loaded.
        """
        ...


@dataclass(frozen=True)
class StudentModel:
    """A student's folder; it sees the panorama whole."""

    folder: Path
    gives_probabilities: bool = False

    @property
    def identity(self) -> str:
        """See `Model`."""
        return fingerprint([digest(self.folder / name) for name in ("config.json", "model.safetensors")])

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        return trained_on(self.folder)

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """See `Model`."""
        from stages.predictor import load_predictor

        return load_predictor(self.folder, device)


@dataclass(frozen=True)
class OnnxStudentModel:
    """A student's ONNX file; it sees the panorama whole."""

    path: Path
    gives_probabilities: bool = False

    @property
    def identity(self) -> str:
        """See `Model`."""
        return digest(self.path)

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        from stages.onnx_predictor import exported_for, load_onnx_student, student_facts

        return exported_for(student_facts(load_onnx_student(self.path).session) or {})

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """See `Model`."""
        from stages.onnx_predictor import load_onnx_student

        return load_onnx_student(self.path, device)


def open_model(name: str) -> Model:
    """The network that a name stands for.

    Args:
        name: folder of a student, or the ONNX file of one.

    Raises:
        WeightsError: there is nothing of that name, or it is no such network.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return OnnxStudentModel(path)
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} does not exist", "--model is the folder of a student, or its ONNX file",
                           "Correct the path, or write it with `goodsam export-onnx`")  # fmt: skip
    require_student(path)
    return StudentModel(path)
