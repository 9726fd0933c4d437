"""Any semantic network as what `goodsam predict` runs: it sees the views of a recipe, and what it says is stitched.

Legend: C classes, H W panorama (working size), 3 = RGB.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.classes import LabelSet
from pipeline.classes import label_set as known_label_set
from pipeline.errors import RecipeError, WeightsError
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS, PanoramaConfig
from pipeline.pretrained import find_network, network_name
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint, without_unused
from pipeline.teacher.config import OPTIONAL_OF_ASSISTANT, SettingNames
from pipeline.teacher.identity import assistant_identity
from stages.views import assistant_views, shared_views

if TYPE_CHECKING:
    from pipeline.teacher.assistant import Assistant
    from stages.predictor import Predictor

MODEL_KEY = "--model"
_OPTIONS = SettingNames(MODEL_KEY, "--label-set", "assistant.output in a recipe named by --recipe")
"""What `predict` has in place of a recipe's settings."""


@dataclass(frozen=True)
class AssistantModel:
    """A network of transformers or an ONNX file. See `stages.models.Model`."""

    recipe: Recipe
    """Its `assistant` names the network; with `windows` and `views` it says what the network is shown."""
    gives_probabilities: bool = True

    @property
    def identity(self) -> str:
        """See `Model`."""
        recipe = self.recipe
        named = dataclasses.replace(recipe.assistant, name="-", label_set="")  # they are named by their content
        shown = without_unused(named, OPTIONAL_OF_ASSISTANT)
        network = assistant_identity(recipe.assistant)
        views = without_unused(recipe.views, OPTIONAL_OF_VIEWS)
        windows = without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)
        return fingerprint(network, shown, recipe.classes.names, windows, views)

    @property
    def name(self) -> str:
        """See `Model`."""
        return network_name(self.recipe.assistant.name)

    @property
    def usual(self) -> PanoramaConfig:
        """See `Model`."""
        return PanoramaConfig(self.recipe.panorama.width, self.recipe.panorama.vertical_fov)

    def load(self, device: str, panorama: PanoramaConfig) -> Predictor:
        """See `Model`.

        Raises:
            WeightsError: it cannot be loaded, or has other classes than its label set.
            RecipeError: windows do not fit the working width.
        """
        import torch

        from pipeline.teacher.assistant import load_assistant

        recipe = dataclasses.replace(self.recipe, panorama=panorama)  # which checks that they fit each other
        assistant = load_assistant(recipe.assistant, torch.device(device), _OPTIONS)
        return AssistantPredictor(assistant, recipe, device)


@dataclass(frozen=True)
class AssistantPredictor:
    """See `stages.predictor.Predictor`."""

    assistant: Assistant
    recipe: Recipe
    torch_device: str

    @property
    def label_set(self) -> LabelSet:
        """Its classes."""
        return self.assistant.label_set

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of the network, a sentence each."""
        return self.assistant.notes

    @property
    def parameters(self) -> int:
        """Number of its parameters; 0 where the network does not tell."""
        network: Any = getattr(self.assistant, "network", None)
        return 0 if network is None else sum(parameter.numel() for parameter in network.parameters())

    @property
    def device(self) -> str:
        """The device's name, with the number of threads on a CPU."""
        import torch

        from stages.devices import describe_device

        return describe_device(self.torch_device, torch.get_num_threads())

    def __call__(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Stitched probabilities [C, H, W].

        Raises:
            WeightsError: the network gives NaN or infinity, or no map of its classes.
        """
        from pipeline.teacher.rectification import stitch_assistant

        recipe = self.recipe
        return stitch_assistant(image_HW3, shared_views(recipe), self.assistant, recipe.assistant, self.label_set,
                                more_views=assistant_views(recipe),
                                vertical_fov=recipe.panorama.vertical_fov).assistant_CHW  # fmt: skip


def assistant_model(name: str, recipe: Recipe, label_set: str = "") -> AssistantModel:
    """The network of a folder, of the hub or of an ONNX file, shown the views of a recipe.

    Args:
        name: folder, hub name, or file.
        recipe: for its views, scales, working size and, for ONNX files, classes.
        label_set: the network's classes where it does not name them, or wrongly.

    Raises:
        WeightsError: there is no such network.
        RecipeError: there is no such label set.
    """
    path = Path(name).expanduser()
    if label_set:
        _require_known(label_set)
    if path.is_file():
        kind, name, classes = "onnx", str(path), label_set or recipe.assistant.label_set
    else:
        folder = find_network(name, MODEL_KEY)
        if not (folder / "config.json").is_file():
            raise WeightsError(f"{name} holds no network", "a network of transformers has a config.json",
                               f"Correct {MODEL_KEY}")  # fmt: skip
        kind, classes = "transformers", label_set or str(folder / "config.json")
    output = recipe.assistant.output if kind == "onnx" else ""
    precision = "float32" if kind == "onnx" else recipe.assistant.precision
    assistant = dataclasses.replace(recipe.assistant, kind=kind, name=name, label_set=classes, output=output,
                                    precision=precision, feature_levels=())  # fmt: skip
    return AssistantModel(Recipe(name="predict", label_set=classes, panorama=recipe.panorama, windows=recipe.windows,
                                 views=recipe.views, assistant=assistant))  # fmt: skip


def _require_known(name: str) -> None:
    try:
        known_label_set(name, "--label-set")
    except RecipeError as error:
        raise RecipeError(error.found, error.expected, "Correct --label-set") from error
