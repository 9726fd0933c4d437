"""Assistants from transformers: any semantic-segmentation network of the hub or of a folder, and the demo's own.

For example `nvidia/segformer-b5-finetuned-cityscapes-1024-1024`, the paper's choice. Features are the encoder's
hidden states where these form a pyramid (SegFormer, most convolutional backbones).

Legend: K images of a batch, C classes, D feature channels, H W image, h w the output's own resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForSemanticSegmentation

from pipeline.accelerator import is_device_error
from pipeline.classes import LabelSet
from pipeline.errors import WeightsError, first_line
from pipeline.pretrained import find_network, load_complete
from pipeline.segformer import can_be_reordered, segment
from pipeline.teacher.assistant import (
    LEVEL_OF_STRIDE,
    PROBE_SIZE,
    AssistantOutput,
    class_order,
    crop_padding,
    require_classes,
    require_levels,
)
from pipeline.teacher.config import FIRST_ASSISTANT, SettingNames
from pipeline.teacher.identity import identity_of_folder
from pipeline.teacher.normalisation import Normalisation, assumption_note


@dataclass(frozen=True)
class TransformersAssistant:
    """See `pipeline.teacher.assistant.Assistant`."""

    network: torch.nn.Module
    """In evaluation mode, float32, without gradients."""
    label_set: LabelSet
    identity: str
    device: torch.device
    normalisation: Normalisation
    level_positions: dict[int, int] = field(default_factory=dict[int, int])
    """Encoder level -> index of the network's hidden state."""
    precision: torch.dtype = torch.float32
    """Precision of matrix products and convolutions: float32, or bfloat16 (autocast)."""
    channels: tuple[int, ...] = ()
    """The network's channel of each class of the label set; empty where the order is the same."""
    notes: tuple[str, ...] = ()
    """See `Assistant`."""

    @property
    def feature_levels(self) -> tuple[int, ...]:
        """The encoder levels that it can return."""
        return tuple(sorted(self.level_positions))

    @torch.no_grad()
    def __call__(self, images_KHW3: npt.NDArray[np.uint8], levels: Sequence[int] = ()) -> AssistantOutput:
        """See `Assistant`."""
        require_levels(levels, self.feature_levels, self.identity)
        inputs = self.normalisation.prepare(images_KHW3, self.device)
        size = (images_KHW3.shape[1], images_KHW3.shape[2])
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits, hidden_states = self._pass(inputs, bool(levels))
        states = {level: hidden_states[self.level_positions[level]] for level in levels}
        return AssistantOutput(
            self._in_order(crop_padding(logits, inputs.shape, size)),
            {level: crop_padding(state, inputs.shape, size) for level, state in states.items()},
        )

    def class_scores(self, images_KHW3: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The logits [K, C, h, w] of `AssistantOutput`, from which gradients reach the weights that want them; in the
        precision of the calling code's autocast."""
        inputs = self.normalisation.prepare(images_KHW3, self.device)
        logits = self._pass(inputs, with_hidden_states=False)[0]
        return self._in_order(crop_padding(logits, inputs.shape, (images_KHW3.shape[1], images_KHW3.shape[2])))

    def _in_order(self, logits_KChw: torch.Tensor) -> torch.Tensor:
        """Logits in the order of the label set."""
        return logits_KChw[:, list(self.channels)] if self.channels else logits_KChw

    def _pass(self, inputs_K3HW: torch.Tensor, with_hidden_states: bool) -> tuple[torch.Tensor, Sequence[torch.Tensor]]:
        if can_be_reordered(self.network):
            return segment(self.network, inputs_K3HW)
        raw = self.network(pixel_values=inputs_K3HW, output_hidden_states=with_hidden_states)
        return raw.logits, raw.hidden_states


def load_transformers(
    name: str,
    labels: LabelSet,
    device: torch.device,
    kind: str = "transformers",
    precision: torch.dtype = torch.float32,
    names: SettingNames = FIRST_ASSISTANT,
) -> TransformersAssistant:
    """A network by hub name or folder. Where it has the classes of `labels` in another order, by the names in its
    config.json, its channels are put into the order of `labels`.

    Args:
        name: hub name or folder.
        labels: the classes that it predicts.
        device: where it runs.
        kind: what its identity begins with.
        precision: that of `TransformersAssistant`.
        names: what errors call the settings.

    Raises:
        WeightsError: there is no such network, it does not segment, lacks weights, or has other classes than `labels`.
    """
    folder = find_network(name, names.name)
    network = load_complete(
        AutoModelForSemanticSegmentation,
        folder,
        name,
        names.name,
        "a segmentation network of transformers",
        "an assistant must be a complete segmentation network, not only an encoder",  # such as mit-b0
    ).to(device)
    classes, positions = probe_outputs(network, device, name)
    require_classes(classes, labels, f"the assistant {name}", names.label_set)
    return TransformersAssistant(
        network,
        labels,
        identity_of_folder(name, folder, kind),
        device,
        Normalisation.from_folder(folder),
        positions,
        precision,
        _channels(network, labels, f"the assistant {name}", names.label_set),
        assumption_note(folder, f"the assistant {name}"),
    )


def probe_outputs(network: torch.nn.Module, device: torch.device, name: str) -> tuple[int, dict[int, int]]:
    """(number of classes, encoder level -> index of the hidden state), found by predicting a small image."""
    try:
        with torch.no_grad():
            raw: Any = network(pixel_values=torch.zeros(1, 3, *PROBE_SIZE, device=device), output_hidden_states=True)
    except Exception as error:
        if is_device_error(error):
            raise
        size = "x".join(map(str, PROBE_SIZE))
        raise WeightsError(f"{name} cannot segment an image of {size} pixels ({first_line(error)})",
                           "an assistant takes images of any size", "Choose another network") from error  # fmt: skip
    sizes = {tuple(extent // stride for extent in PROBE_SIZE): level for stride, level in LEVEL_OF_STRIDE.items()}
    states = [state for state in raw.hidden_states or () if state is not None]
    found = {sizes.get(tuple(state.shape[2:]), 0): position for position, state in enumerate(states)}
    return int(raw.logits.shape[1]), {level: position for level, position in found.items() if level}


def _channels(network: Any, labels: LabelSet, description: str, key: str) -> tuple[int, ...]:
    """The network's channel of each class of the label set; empty where the order is the same."""
    id2label: dict[int, str] = network.config.id2label
    order = class_order([str(id2label[class_id]) for class_id in sorted(id2label)], labels, description, key)
    return () if order == tuple(sorted(order)) else order
