"""The assistant's network while it is trained, and as a folder when it has been.

It is trained as it predicts: without dropout, and with the batch norms' statistics as they are. So a step is a function
of its weights and its batch.

Legend: K images, C classes of the run, N pixels of all images, h w logits' resolution.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.adapt.batches import AdaptBatch
from pipeline.adapt.losses import merged_logits
from pipeline.adapt.visibility import sample_logits
from pipeline.classes import LabelSet
from pipeline.finite import require_finite
from pipeline.pretrained import find_network, quiet, settings_file
from pipeline.student.precision import mixed_precision
from pipeline.teacher.assistant import DEMO_LABELS
from pipeline.teacher.assistant_transformers import TransformersAssistant, load_transformers
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.identity import DEMO_FOLDER
from pipeline.teacher.rectification import stride_of


def load_trainable(config: AssistantConfig, labels: LabelSet, device: torch.device) -> TransformersAssistant:
    """The assistant's network with all weights to be trained, float32.

    Args:
        config: names a network of transformers, or the demo's.
        labels: the classes that it predicts.
        device: where it is trained.

    Raises:
        WeightsError: as `load_transformers`, or it has weights that are no numbers.
    """
    assistant = load_transformers(str(source_folder(config)), labels, device)
    for parameter in assistant.network.parameters():
        require_finite(parameter, f"the assistant {config.name or 'demo'}")
        parameter.requires_grad_(parameter.is_floating_point())
    return assistant


def source_folder(config: AssistantConfig) -> Path:
    """The folder of the network's files.

    Raises:
        WeightsError: there is no such network.
    """
    return DEMO_FOLDER if config.kind == "demo" else find_network(config.name, "assistant.name")


def labels_of(config: AssistantConfig, named: LabelSet) -> LabelSet:
    """The classes that the network predicts: those of the settings, `named`, but the demo has its own."""
    return DEMO_LABELS if config.kind == "demo" else named


def predict_pixels(
    assistant: TransformersAssistant, batch: AdaptBatch, target: LabelSet, bfloat16: bool = False
) -> Tensor:
    """Logits [C, N] of the classes of the run at all pixels of a batch, float32, with gradients.

    Args:
        assistant: from `load_trainable`.
        batch: what it is shown.
        target: the classes of the run.
        bfloat16: whether matrix products are computed in bfloat16.
    """
    with mixed_precision(assistant.device.type, enabled=bfloat16):
        logits_KShw = assistant.class_scores(batch.images_KHW3)
    seen = (batch.images_KHW3.shape[1], batch.images_KHW3.shape[2])
    stride = stride_of((logits_KShw.shape[2], logits_KShw.shape[3]), seen)
    cells = (seen[0] / stride, seen[1] / stride)
    of_images = [
        sample_logits(logits_Shw, places_N2.to(assistant.device), cells)
        for logits_Shw, places_N2 in zip(logits_KShw, batch.places, strict=True)
    ]
    return merged_logits(torch.cat(of_images, dim=1), assistant.label_set, target)


def mix_with_start(assistant: TransformersAssistant, start: TransformersAssistant, share: float) -> None:
    """Let a trained network keep a share of its weights; the rest become those that it began with.

    Args:
        assistant: the trained one; it is changed.
        start: the same network before it was trained.
        share: of the trained weights, 0..1.
    """
    begun = start.network.state_dict()
    for name, weight in assistant.network.state_dict().items():
        if weight.is_floating_point():
            weight.lerp_(begun[name], 1 - share)


def save_network(assistant: TransformersAssistant, source: Path, folder: Path) -> None:
    """Write the network as a folder that `assistant.name` can name, with the settings of its pixels.

    Args:
        assistant: the trained one.
        source: folder of the network that it was before.
        folder: is filled.
    """
    network: Any = assistant.network
    with quiet():
        network.save_pretrained(folder)
    if settings := settings_file(source):
        shutil.copyfile(settings, folder / settings.name)
