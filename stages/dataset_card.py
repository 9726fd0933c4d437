"""The card of an exported data set, README.md, as the Hugging Face hub has it."""

from __future__ import annotations

from pipeline import __version__
from pipeline.classes import IGNORE, LabelSet
from stages.card_tables import FILL_IN, class_table


def dataset_card(name: str, labels: LabelSet, panoramas: int) -> str:
    """The card in Markdown.

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
