"""SAM (F_T): loading the demo model or a real checkpoint, and automatic masks of a window.

What imports segment_anything lies in this module, `demo_sam` and `generator`; stage two imports none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from pipeline.errors import WeightsError
from pipeline.settings import weights_file_digest
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.masks import MaskSet

DEMO_WEIGHTS = Path(__file__).parents[1] / "demo" / "sam.pth"
"""Weights of the embedded demo SAM, half precision."""

_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Channels of the encoder tell SAM's sizes apart."""
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_sam(config: SamConfig, device: torch.device) -> Sam:
    """The SAM of a recipe in float32, in evaluation mode.

    Raises:
        WeightsError: the checkpoint is missing, no checkpoint, or that of another model.
    """
    path = weights_path(config)
    state = _read_state(path)
    sam = build_demo_sam() if config.model == "demo" else sam_model_registry[config.model]()
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} {_looks_like(state)}", f"the recipe wants weights of {config.model}",
                           "Correct sam.model or sam.checkpoint") from error  # fmt: skip
    return sam.float().eval().to(device)


def weights_path(config: SamConfig) -> Path:
    """File of the weights."""
    return DEMO_WEIGHTS if config.model == "demo" and not config.checkpoint else Path(config.checkpoint)


def weights_digest(config: SamConfig) -> str:
    """SHA-256 of the weights' file, for fingerprints.

    Raises:
        WeightsError: the file is missing or unreadable.
    """
    path = weights_path(config)
    try:
        return weights_file_digest(path)
    except OSError as error:
        raise _missing(path, config.model, error) from error


class SamMaskGenerator:
    """Automatic masks of windows: those of the stock generator, in its order."""

    def __init__(self, sam: Sam, config: SamConfig) -> None:
        self._generator = AutomaticMaskGenerator(
            sam,
            **config.generator_settings(),
            precision=_PRECISIONS[config.precision],
            memory_gib=config.memory_gib,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what works more slowly than it could; most runs have none."""
        reasons = self._generator.plain_because
        return (
            *(f"{part} works the plain, slower way ({reason})" for part, reason in reasons.items()),
            *(f"the GPU's memory holds fewer {units} at once than was estimated, which is slower (a lower "
              "sam.memory_gib avoids the attempt)" for units in self._generator.shrunk),
        )  # fmt: skip

    def __call__(self, window_hw3: npt.NDArray[np.uint8]) -> MaskSet:
        """Masks of an RGB window; none is a MaskSet of length 0."""
        return self._generator.generate(window_hw3)

    def many(self, windows: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        """Masks of each of several RGB windows, in their order.

        Raises:
            DeviceMemoryError: a GPU's memory is too small for one window, prompt or mask.
        """
        return self._generator.generate_many(windows)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _missing(path, "SAM", error) from error
    except Exception as error:  # what is no checkpoint raises nearly anything
        raise WeightsError(f"{path} is no checkpoint, or a broken one", "it must be a file of torch.save",
                           "Download it again (`goodsam fetch-weights` checks the hash)") from error  # fmt: skip
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no weights", "it must be a state dict of SAM", "Check sam.checkpoint")
    return state


def _looks_like(state: dict[str, torch.Tensor]) -> str:
    embedding = state.get("image_encoder.pos_embed")
    if embedding is None:
        return "holds weights of something that is no SAM"
    return f"holds weights of {_WIDTHS.get(embedding.shape[-1], 'another SAM')}"


def _missing(path: Path, model: str, error: OSError) -> WeightsError:
    remedy = "Check sam.checkpoint" if model in ("demo", "SAM") else f"`goodsam fetch-weights {model}` brings it"
    return WeightsError(f"{path} cannot be read ({error.strerror})", f"it must be the checkpoint of {model}", remedy)
