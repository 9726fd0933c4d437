"""The card of an exported data set, README.md, as the Hugging Face hub has it."""

from __future__ import annotations

from pipeline import __version__
from pipeline.classes import IGNORE, LabelSet

_FILL_IN = "not stated here; fill it in before you share the data"


def dataset_card(name: str, labels: LabelSet, panoramas: int) -> str:
    """The card in Markdown.

    Args:
        name: of the run.
        labels: names and colours of the classes.
        panoramas: how many there are.
    """
    rows = "\n".join(
        f"| {number} | {class_name} | #{red:02x}{green:02x}{blue:02x} |"
        for number, (class_name, (red, green, blue)) in enumerate(zip(labels.names, labels.palette, strict=True))
    )
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

| id | class | colour |
| ---: | --- | --- |
{rows}

Where the panoramas were taken, and who holds rights in them: {_FILL_IN}.

## Licence

{_FILL_IN.capitalize()}: the licences of the panoramas and of both networks decide under which one it may be shared.
"""
