"""Label maps as files: where they lie, and what they say of themselves.

A label file carries the names of network, settings and source, and the facts for the tables, so that a rerun need not
decode it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from pipeline.arrays import LabelArray
from pipeline.class_tables import colour_table
from pipeline.classes import LabelSet
from stages.files import write_picture

_NOTES = "goodsam"
"""Text of a label file that holds its notes as JSON."""
MADE_BY = "made_by"
"""Its note of what made it, as a person calls that."""
PIXELS = "pixels"
"""Its note of the content that was written, by which an edited map is known."""


def label_path(out: Path, panorama_id: str) -> Path:
    """The label map of a panorama."""
    return out / "labels" / f"{panorama_id}.png"


def overlay_path(out: Path, panorama_id: str) -> Path:
    """The labels over a panorama."""
    return out / "overlays" / f"{panorama_id}.jpg"


def write_labels(path: Path, labels_HW: LabelArray, label_set: LabelSet, notes: Mapping[str, Any]) -> None:
    """Write a label map as an indexed PNG with notes.

    Raises:
        CacheError: it cannot be written.
    """
    picture = Image.fromarray(labels_HW)
    picture.putpalette(colour_table(label_set).tobytes())
    text = PngImagePlugin.PngInfo()
    text.add_text(_NOTES, json.dumps(notes))
    write_picture(path, picture, pnginfo=text)


def is_foreign(path: Path) -> bool:
    """Whether a label map's place holds a whole picture without notes: people's labels, or a map that somebody has
    edited, for editors of pictures drop the notes."""
    with suppress(OSError, SyntaxError, ValueError), Image.open(path) as picture:
        picture.load()
        return _NOTES not in picture.info
    return False


def read_notes(path: Path) -> dict[str, Any]:
    """What a label file says of itself; empty where there is none, or a broken one."""
    with suppress(OSError, SyntaxError, ValueError, KeyError), Image.open(path) as picture:
        return dict(json.loads(picture.info[_NOTES]))
    return {}
