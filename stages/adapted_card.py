"""The model card of an adapted assistant, README.md in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import __version__
from stages.card_tables import CARD, FILL_IN, loss_table
from stages.files import write_whole

_HEADER = (
    "---\nlibrary_name: transformers\npipeline_tag: image-segmentation\ntags:\n  - goodsam\n  - semantic-segmentation\n"
    f"# license: {FILL_IN}\n---\n"
)


def write_adapted_card(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the card.

    Args:
        folder: of the network.
        record: what adapted.json says of it.

    Raises:
        CacheError: it cannot be written.
    """
    write_whole(folder / CARD, adapted_card(record))


def adapted_card(record: Mapping[str, Any]) -> str:
    """The text of the card; `record` as of `write_adapted_card`."""
    settings = record["settings"]
    return (
        f"{_HEADER}\n# Adapted assistant {record['fingerprint']}\n\n"
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
