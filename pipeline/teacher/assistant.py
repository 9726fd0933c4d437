"""The assistant F_TA: a semantic network trained on perspective images, behind one small interface.

The adapters (`assistant_transformers`, `assistant_onnx`) share what is here: images of any size come in, are normalised
for the network and padded to a multiple of 32; outputs are cropped accordingly. Nothing is resized: the caller chooses
the resolution at which the network sees an image.

Legend: K images of a batch, C classes, D feature channels, H W image, h w the output's own resolution, s stride.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from pipeline.classes import DENSEPASS_13, LabelSet, label_set
from pipeline.errors import WeightsError
from pipeline.precision import chosen_precision
from pipeline.teacher.config import FIRST_ASSISTANT, AssistantConfig, SettingNames
from pipeline.teacher.identity import DEMO_FOLDER

DEMO_LABELS = DENSEPASS_13
LEVEL_OF_STRIDE = {4: 1, 8: 2, 16: 3, 32: 4}
"""Encoder level by its stride, pixels."""
PROBE_SIZE = (64, 96)
"""Height and width of the image that shows how a network's outputs are laid out."""
_UNNAMED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class AssistantOutput:
    """The assistant's output for K images of equal size H W.

    A map of stride s, a power of two, has ceil(H / s) rows and ceil(W / s) columns: where s does not divide the size,
    the last cell extends beyond the image.
    """

    logits_KChw: torch.Tensor
    """Class scores before the softmax, float32, at the network's own resolution (stride 4 for SegFormer)."""
    features: dict[int, torch.Tensor]
    """Encoder level (1 finest .. 4, strides 4 .. 32) -> features_KDhw, float32; only the requested levels."""


class Assistant(Protocol):
    """A frozen semantic network."""

    @property
    def label_set(self) -> LabelSet:
        """The classes that it predicts."""
        ...

    @property
    def identity(self) -> str:
        """Kind, name and content hash of the weights, for fingerprints."""
        ...

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can return."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, a sentence each: assumptions about its input that its files do not state."""
        ...

    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """Predict RGB images; tensors stay on the assistant's device.

        Raises:
            WeightsError: one of `levels` is not among `feature_levels`.
        """
        ...


def load_assistant(config: AssistantConfig, device: torch.device, names: SettingNames | None = None) -> Assistant:
    """The network that `config` names, ready to use. The demo network has its own label set, whatever `config` says.

    Args:
        config: settings.
        device: where it runs.
        names: what errors call the settings; None: as the recipe has them.

    Raises:
        WeightsError: it is missing, broken, of the wrong kind, or has another number of classes than the label set.
    """
    names = names or config.setting_names
    if config.kind == "onnx":
        from pipeline.teacher.assistant_onnx import load_onnx

        return load_onnx(config.name, label_set(config.label_set), device, config.output, names)
    from pipeline.teacher.assistant_transformers import load_transformers

    precision = chosen_precision(config.precision, device)
    if config.kind == "demo":
        return load_transformers(str(DEMO_FOLDER), DEMO_LABELS, device, "demo", precision)
    return load_transformers(config.name, label_set(config.label_set), device, precision=precision, names=names)


def crop_padding(maps_KDhw: torch.Tensor, padded: torch.Size, size: tuple[int, int]) -> torch.Tensor:
    """Maps without the cells that lie entirely in the padding, float32; `padded` ends in H' W', `size` is H W."""
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
            f"it has {', '.join(map(str, available)) or 'none'}",
            "Set assistant.feature_levels to levels that it has",
        )


def require_classes(found: int, labels: LabelSet, network: str, key: str = FIRST_ASSISTANT.label_set) -> None:
    """Refuse a network whose classes are not those of the label set.

    Args:
        found: how many it has.
        labels: the classes that the settings state for the network.
        network: its description, for messages.
        key: the setting that states the classes, for messages.

    Raises:
        WeightsError: the numbers differ.
    """
    if found != len(labels):
        raise WeightsError(
            f"{network} predicts {found} classes",
            f"the label set {labels.name} has {len(labels)}",
            f"Set {key} to the classes that the network was trained on",
        )


def class_order(
    names: Sequence[str], labels: LabelSet, network: str, key: str = FIRST_ASSISTANT.label_set
) -> tuple[int, ...]:
    """The network's channel of each class of the label set, matched by the network's own class names.

    Case, spaces, hyphens and underscores of names do not matter. Channels keep their order where the network
    has no names, only LABEL_0, LABEL_1, ..., transformers' default.

    Args:
        names: the network's class names in the order of its channels, as many as `labels` has.
        labels: the classes that the settings state for the network.
        network: its description, for messages.
        key: the setting that states the classes, for messages.

    Returns:
        Position p holds the channel of class p.

    Raises:
        WeightsError: the names differ.
    """
    theirs, ours = ([_folded(name) for name in side] for side in (names, labels.names))
    if theirs == ours or all(_UNNAMED.fullmatch(name) for name in names):
        return tuple(range(len(labels)))
    if sorted(theirs) != sorted(ours) or len(set(ours)) != len(ours):
        raise WeightsError(
            f"{network} predicts {', '.join(names)}",
            f"the label set {labels.name} has {', '.join(labels.names)}",
            f"Set {key} to the classes that the network was trained on, or correct id2label in its config.json",
        )
    return tuple(theirs.index(name) for name in ours)


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
