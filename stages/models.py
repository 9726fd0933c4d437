"""The networks that `goodsam predict` takes, known by what they are before the libraries that run them are imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.errors import InputError, WeightsError
from pipeline.panorama.config import PanoramaConfig
from pipeline.pretrained import DEMO
from pipeline.settings import fingerprint
from pipeline.student.folder import require_student
from stages.files import digest, read_json
from stages.training_record import RECORD, training_geometry

if TYPE_CHECKING:
    from stages.predictor import Predictor

KIND = "goodsam student"
"""Value of the metadata `kind` of an ONNX file, by which `goodsam export-onnx` marks what it writes."""
EXPORTED = "model.onnx"
"""File that it writes into a folder."""
DEMO_NAME = "demo"
"""Stands for the embedded small network, for trying things."""
USUAL_RECIPE = "street"
"""With whose views a network is used that is no student, unless another is named."""
_DEMO_WIDTH = 1024
"""Of the panoramas at whose scale it was trained."""
_METADATA_BYTES = 1 << 20
"""Metadata stand at the end of an ONNX file; these are more than they have."""


class Model(Protocol):
    """A network that predicts panoramas, and how it is shown them."""

    @property
    def identity(self) -> str:
        """Names the network by its content, and how it is shown panoramas: other outputs, other name."""
        ...

    @property
    def name(self) -> str:
        """What a person calls it, for maps and reports: no path of this machine."""
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
    def name(self) -> str:
        """See `Model`."""
        made = read_json(self.folder / RECORD).get("fingerprint")
        return f"student {made}" if made else self.folder.name

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        return training_geometry(self.folder)

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """See `Model`."""
        from stages.predictor import load_predictor

        return load_predictor(self.folder, device)


@dataclass(frozen=True)
class DemoModel(StudentModel):
    """The embedded network, from which the demo's student starts; it knows the 13 classes of the demo world."""

    folder: Path = DEMO / "student_start"

    @property
    def name(self) -> str:
        """See `Model`."""
        return "the embedded demo network"

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        return PanoramaConfig(_DEMO_WIDTH)


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
    def name(self) -> str:
        """See `Model`."""
        path = self.path.resolve()
        return path.parent.name if path.name == EXPORTED else path.name

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        from stages.onnx_predictor import geometry_of_training, load_onnx_student, student_facts

        return geometry_of_training(student_facts(load_onnx_student(self.path).session) or {})

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """See `Model`."""
        from stages.onnx_predictor import load_onnx_student

        return load_onnx_student(self.path, device)


def open_model(name: str, recipe: str = USUAL_RECIPE, label_set: str = "") -> Model:
    """The network that a name stands for.

    Args:
        name: folder of a student (which has a training.json) or its ONNX file, as `goodsam export-onnx` writes it, or
            the folder of that; `demo` for the embedded one; else folder or hub name of a network of transformers, or
            another ONNX file.
        recipe: name or file of the recipe with whose views a network is used that is no student.
        label_set: classes of such a network, where it does not name them itself.

    Raises:
        InputError: a recipe or label set for a student, which brings its own.
        WeightsError: there is nothing of that name, or it is no such network.
        RecipeError: there is no such recipe or label set.
    """
    path = Path(name).expanduser()
    if (own := _student_of(name, path)) is not None:
        require_no_views(f"--model {name}", recipe, label_set)
        return own
    if not path.exists() and (path.suffix == ".onnx" or name.count("/") != 1 or name.startswith((".", "~"))):
        raise WeightsError(f"{path} does not exist",
                           "--model is a student's folder, an ONNX file, or a network of transformers (a folder, or "
                           "OWNER/NAME on the Hugging Face hub)", "Check the path")  # fmt: skip
    from stages.assistant_model import assistant_model
    from stages.runs import open_recipe

    return assistant_model(name, open_recipe(recipe), label_set)


def _student_of(name: str, path: Path) -> Model | None:
    """The network of a name if it is shown the whole panorama; None for others."""
    if path.is_dir() and (path / RECORD).is_file():
        return open_student(path)
    if (path / EXPORTED).is_file() and _is_exported(path / EXPORTED):
        return OnnxStudentModel(path / EXPORTED)
    if path.is_file() and _is_exported(path):
        return OnnxStudentModel(path)
    if path.is_dir() and _is_around_student(path):
        return open_student(path)  # which names the folder within
    return DemoModel() if name == DEMO_NAME and not path.exists() else None


def require_no_views(given: str, recipe: str, label_set: str) -> None:
    """Refuse options that a network does not use which is shown the whole panorama and names its classes.

    Args:
        given: the option that names it, for the message.
        recipe: as of `open_model`.
        label_set: as of `open_model`.

    Raises:
        InputError: one is given.
    """
    unused = {"--recipe": recipe if recipe != USUAL_RECIPE else "", "--label-set": label_set}
    if found := [f"{option} {value}" for option, value in unused.items() if value]:
        raise InputError(f"{' and '.join(found)} is given with {given}",
                         "a student is shown the whole panorama and names its classes; these are for other networks",
                         "Leave it out, or name another network")  # fmt: skip


def open_student(folder: Path) -> StudentModel:
    """The student of a folder, which is shown the panorama whole.

    Raises:
        WeightsError: it holds none.
    """
    require_student(folder)
    return StudentModel(folder)


def _is_around_student(folder: Path) -> bool:
    """Whether a folder is a run's `student`, or one of the cache's students, instead of its `final`."""
    return not (folder / "config.json").exists() and (folder / "final" / RECORD).is_file()


def _is_exported(path: Path) -> bool:
    """Whether an ONNX file is a student's, by the metadata at its end: the libraries that read it take a second."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _METADATA_BYTES))
        return KIND.encode() in file.read()
