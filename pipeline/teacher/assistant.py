"""The assistant F_TA: a semantic network trained on perspective images, behind one small interface.

The adapters (`assistant_transformers`, `assistant_onnx`) share what is here: images of any size come in, are normalised
as the network wants them and padded to a multiple of 32; what comes out is cut back. Nothing is resized: the
resolution at which the network sees an image is its caller's choice.

Legend: K images of a batch, C classes, D feature channels, H W image, h w the output's own resolution, s stride.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from pipeline.classes import DENSEPASS_13, LabelSet, label_set
from pipeline.errors import WeightsError
from pipeline.teacher.config import AssistantConfig

DEMO_FOLDER = Path(__file__).resolve().parents[1] / "demo" / "assistant"
DEMO_LABELS = DENSEPASS_13
PAD_TO = 32
"""Images are padded to a multiple of this many pixels: the coarsest feature stride of the networks."""
LEVEL_OF_STRIDE = {4: 1, 8: 2, 16: 3, 32: 4}
"""Encoder levels are named by their stride."""


@dataclass(frozen=True)
class AssistantOutput:
    """What the assistant says about K images of equal size H W.

    A map of stride s has ceil(H / s) rows and ceil(W / s) columns: where s does not divide the size, the last cell
    reaches beyond the image.
    """

    logits_KChw: torch.Tensor
    """Class scores before the softmax, float32, at the network's own resolution (stride 4 for SegFormer)."""
    features: dict[int, torch.Tensor]
    """Encoder level (1 finest .. 4, strides 4 .. 32) -> features_KDhw, float32; only those asked for."""


class Assistant(Protocol):
    """A frozen semantic network."""

    @property
    def label_set(self) -> LabelSet:
        """The classes that it predicts."""
        ...

    @property
    def identity(self) -> str:
        """Kind, name and content hash of the weights, for fingerprints: other weights, other identity."""
        ...

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can give."""
        ...

    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """Predict RGB images; tensors stay on the assistant's device.

        Raises:
            WeightsError: one of `levels` is not among `feature_levels`.
        """
        ...


def load_assistant(config: AssistantConfig, device: torch.device) -> Assistant:
    """The network that `config` names, ready to be called. The demo's own label set wins over the one in `config`.

    Raises:
        WeightsError: it is missing, broken, of the wrong kind, or has another number of classes than the label set.
    """
    if config.kind == "onnx":
        from pipeline.teacher.assistant_onnx import load_onnx

        return load_onnx(config.name, label_set(config.label_set), device)
    from pipeline.teacher.assistant_transformers import load_transformers

    if config.kind == "demo":
        return load_transformers(str(DEMO_FOLDER), DEMO_LABELS, device, kind="demo")
    return load_transformers(config.name, label_set(config.label_set), device)


def assistant_identity(config: AssistantConfig) -> str:
    """`Assistant.identity` of the network that `config` names, without loading it.

    Raises:
        WeightsError: it is missing.
    """
    if config.kind == "onnx":
        from pipeline.teacher.assistant_onnx import onnx_identity

        return onnx_identity(config.name)
    from pipeline.teacher.assistant_transformers import transformers_identity

    if config.kind == "demo":
        return transformers_identity(str(DEMO_FOLDER), kind="demo")
    return transformers_identity(config.name)


@dataclass(frozen=True)
class Normalisation:
    """How a network wants its pixels: (value * rescale - mean) / std per RGB channel."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    rescale: float = 1 / 255

    @staticmethod
    def from_processor(settings: Mapping[str, Any]) -> Normalisation:
        """From the contents of a preprocessor_config.json; what it leaves out is as for ImageNet."""
        default = Normalisation()
        rescale = float(settings.get("rescale_factor", default.rescale)) if settings.get("do_rescale", True) else 1.0
        if not settings.get("do_normalize", True):
            return Normalisation((0.0,) * 3, (1.0,) * 3, rescale)
        mean, std = settings.get("image_mean", default.mean), settings.get("image_std", default.std)
        return Normalisation(tuple(mean), tuple(std), rescale)

    @staticmethod
    def beside(folder: Path) -> Normalisation:
        """From a folder's preprocessor_config.json; as for ImageNet where there is none."""
        path = folder / "preprocessor_config.json"
        return Normalisation.from_processor(json.loads(path.read_text()) if path.is_file() else {})

    def prepare(self, images_KHW3: npt.NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """Network input [K, 3, H', W'], float32, padded with the last row and column to multiples of 32."""
        images = torch.from_numpy(np.array(images_KHW3, order="C")).to(device).permute(0, 3, 1, 2).float()
        mean_31, std_31 = (torch.tensor(v, device=device)[:, None, None] for v in (self.mean, self.std))
        height, width = images.shape[-2:]
        normalised = (images * self.rescale - mean_31) / std_31
        return functional.pad(normalised, (0, -width % PAD_TO, 0, -height % PAD_TO), mode="replicate")


def cut_back(maps_KDhw: torch.Tensor, padded: torch.Size, size: tuple[int, int]) -> torch.Tensor:
    """Drop the cells that lie wholly in the padding; `padded` ends in H' W', `size` is H W. Makes it float32."""
    rows, columns = (
        -(-extent * cells // full) for extent, cells, full in zip(size, maps_KDhw.shape[-2:], padded[-2:], strict=True)
    )
    return maps_KDhw[..., :rows, :columns].float()


def require_levels(levels: Sequence[int], available: tuple[int, ...], identity: str) -> None:
    """Refuse feature levels that the network does not have.

    Raises:
        WeightsError: one is missing.
    """
    missing = [level for level in levels if level not in available]
    if missing:
        raise WeightsError(
            f"the assistant {identity} has no features of level {', '.join(map(str, missing))}",
            f"it gives {', '.join(map(str, available)) or 'none'}",
            "Set assistant.feature_levels to these",
        )


def require_classes(found: int, labels: LabelSet, what: str) -> None:
    """Refuse a network whose classes are not those of the label set.

    Raises:
        WeightsError: the numbers differ.
    """
    if found != len(labels):
        raise WeightsError(
            f"{what} predicts {found} classes",
            f"the label set {labels.name} has {len(labels)}",
            "Set assistant.label_set to the labels that the network was trained on",
        )
