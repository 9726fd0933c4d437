"""A student small enough to be exported within seconds."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.classes import DENSEPASS_13, LabelSet
from pipeline.student.model import save_student


def write_tiny_student(folder: Path, seed: int = 0, labels: LabelSet = DENSEPASS_13) -> Path:
    """Write a student of one block per level with random weights; returns its folder."""
    torch.manual_seed(seed)
    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=16,
        id2label=dict(enumerate(labels.names)), label2id={name: i for i, name in enumerate(labels.names)},
    )  # fmt: skip
    save_student(SegformerForSemanticSegmentation(config).eval(), folder)
    return folder
