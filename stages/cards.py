"""Cards of exported data sets and adapted assistants, README.md beside them, as the Hugging Face hub has it; and what
they share with the student's (`model_card`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import __version__
from pipeline.classes import IGNORE, LabelSet

CARD = "README.md"
"""Name of a card's file."""
FILL_IN = "to be filled in by whoever shares it"
"""Stands where only the owner of the data knows the answer."""

_ADAPTED_HEADER = (
    "---\nlibrary_name: transformers\npipeline_tag: image-segmentation\ntags:\n  - goodsam\n  - semantic-segmentation\n"
    f"# license: {FILL_IN}\n---\n"
)


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


def dataset_card(name: str, labels: LabelSet, panoramas: int) -> str:
    """The card of an exported data set in Markdown.

    Args:
        name: of the run.
        labels: names and colours of the classes.
        panoramas: how many there are.
    """
    plural = "panorama" if panoramas == 1 else "panoramas"
    return f"""---
task_categories:
- image-segmentation
tags:
- panorama
- equirectangular
- pseudo-labels
pretty_name: {name}
---

# {name}

{panoramas:,} {plural} with semantic labels that no person has checked: the ensemble of Segment Anything and a network
trained on perspective images, made by GoodSAM, in the open ({__version__}).

    from datasets import load_dataset
    data = load_dataset("FOLDER_OF_THIS_CARD")["train"]  # columns image and label, and what is known of each panorama

`label` holds class ids; {IGNORE} is where nothing was seen.

{class_table(labels)}

Where the panoramas were taken, and who holds rights in them: {FILL_IN}.

## Licence

{FILL_IN.capitalize()}: the licences of the panoramas and of both networks decide under which one it may be shared.
"""


def adapted_card(record: Mapping[str, Any]) -> str:
    """The card of an adapted assistant in Markdown, by what its adapted.json says of it."""
    settings = record["settings"]
    return (
        f"{_ADAPTED_HEADER}\n# Adapted assistant {record['fingerprint']}\n\n"
        f"{record['adapted_from']}, trained further without labels on {record['panoramas']:,} panoramas by GoodSAM, in "
        f"the open ({__version__}): on what Segment Anything's masks made of its own predictions, shown as "
        f"{', '.join(record['shown'])}. It takes ordinary images, as the network before.\n\n"
        f'## Use\n\nIn a recipe: `assistant.kind = "transformers"`, `assistant.name` this folder, '
        f'`assistant.label_set = "{record["label_set"]}"`.\n\n'
        f"## Training\n\n{record['steps']:,} steps of {settings['batch_size']} panoramas, learning rate "
        f"{settings['learning_rate']:g}, seed {settings['seed']}, torch {record['torch']}. All settings are in "
        f"`adapted.json`.\n\n{loss_table(record['losses'])}\n\n"
        f"## Licence\n\n{FILL_IN.capitalize()}: the licences of the network before, of the "
        "panoramas and of Segment Anything decide under which one it may be shared.\n"
    )
