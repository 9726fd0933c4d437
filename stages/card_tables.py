"""What the cards of networks and data sets share: README.md beside them, as the Hugging Face hub has it."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.classes import LabelSet

CARD = "README.md"
"""Name of a card's file."""
FILL_IN = "to be filled in by whoever shares it"
"""Stands where only the owner of the data knows the answer."""


def class_table(labels: LabelSet) -> str:
    """Id, name and colour of every class, as Markdown."""
    rows = (
        f"| {number} | {name} | #{red:02x}{green:02x}{blue:02x} |"
        for number, (name, (red, green, blue)) in enumerate(zip(labels.names, labels.palette, strict=True))
    )
    return "\n".join(("| id | class | colour |", "| ---: | --- | --- |", *rows))


def loss_table(losses: Mapping[str, float]) -> str:
    """The losses at the end of a training, as Markdown."""
    rows = (f"| {name} | {value:.4f} |" for name, value in losses.items())
    return "\n".join(("| loss at the end | |", "| --- | ---: |", *rows))
