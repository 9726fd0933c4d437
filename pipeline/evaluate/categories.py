"""Coarser categories that classes are merged into: flat, construction, object, ... of Cityscapes, or any."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.classes import LabelSet, folded, is_file_of_classes
from pipeline.errors import RecipeError

CITYSCAPES_7: Mapping[str, tuple[str, ...]] = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
"""The categories of Cityscapes, by its 19 classes."""
KNOWN = {"cityscapes7": CITYSCAPES_7}

_KEY = "evaluation.categories"


@dataclass(frozen=True)
class Categories:
    """A merge of all classes of a label set."""

    name: str
    """What recipes call it: cityscapes7, or the file that defines it."""
    names: tuple[str, ...]
    """Category names; those without a class of the label set are left out."""
    of_class: tuple[int, ...]
    """Category, as an index of `names`, per class id."""

    def record(self, labels: LabelSet) -> dict[str, list[str]]:
        """The names of the classes of each category."""
        pairs = list(zip(labels.names, self.of_class, strict=True))
        return {name: [label for label, own in pairs if own == number] for number, name in enumerate(self.names)}


def open_categories(name: str, labels: LabelSet) -> Categories | None:
    """Categories by name or from a JSON file that lists the classes of each: `{"flat": ["road", "sidewalk"], ...}`.

    Args:
        name: cityscapes7, a path that ends with .json, or empty for none (None).
        labels: the classes, each in exactly one category; upper and lower case are the same.

    Raises:
        RecipeError: no such categories or file, or a class of `labels` is in none or in two.
    """
    if not name:
        return None
    if name in KNOWN:
        classes: Mapping[str, Sequence[str]] = KNOWN[name]
    elif is_file_of_classes(name):
        classes = _read(name)
    else:
        raise RecipeError(f"{_KEY} is {name!r}", f"it must be {', '.join(KNOWN)}, or a JSON file of categories",
                          f"Correct {_KEY} in the recipe, or leave it empty")  # fmt: skip
    _require_each_once(name, classes, labels)
    category_of = {folded(label): category for category, members in classes.items() for label in members}
    wanted = [category_of[folded(label)] for label in labels.names]
    names = tuple(category for category in classes if category in wanted)
    return Categories(name, names, tuple(map(names.index, wanted)))


def _require_each_once(name: str, classes: Mapping[str, Sequence[str]], labels: LabelSet) -> None:
    """Refuse categories that do not have each class of a label set exactly once.

    Raises:
        RecipeError: they do not.
    """
    count = Counter(folded(label) for members in classes.values() for label in members)
    missing = [label for label in labels.names if not count[folded(label)]]
    duplicate = [label for label in labels.names if count[folded(label)] > 1]
    if not missing and not duplicate:
        return
    known = {*map(folded, labels.names), *(count if name in KNOWN else ())}
    unknown = [label for members in classes.values() for label in members if folded(label) not in known]
    faults = [f"{what}: {', '.join(faulty)}"
              for what, faulty in (("without a category", missing), ("in more than one", duplicate),
                                   ("not a class", unknown)) if faulty]  # fmt: skip
    raise RecipeError(f"{_KEY} is {name!r}, which does not fit the classes of {labels.name} ({'; '.join(faults)})",
                      "each class must be in exactly one category",
                      "Name a JSON file of categories that fits, or leave the setting empty")  # fmt: skip


def _read(name: str) -> Mapping[str, Sequence[str]]:
    try:
        # utf-8-sig: Windows' editors write a byte order mark at the beginning.
        table = json.loads(Path(name).read_text(encoding="utf-8-sig"), object_pairs_hook=_require_unique_keys)
        lists = [members for members in table.values() if isinstance(members, list) and members]
        if (
            not table
            or len(lists) < len(table)
            or not all(isinstance(label, str) for members in lists for label in members)
        ):
            raise ValueError("it is not an object of lists of class names")
    except (OSError, ValueError, AttributeError) as error:
        raise RecipeError(f"{_KEY} names {name}, which cannot be used ({error})",
                          'it must be a JSON file such as {"flat": ["road", "sidewalk"], "sky": ["sky"]}',
                          "Correct the file") from error  # fmt: skip
    return table


def _require_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of duplicate keys, `dict` would silently take the last.

    Raises:
        ValueError: a key is in it twice.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        duplicate = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"{duplicate!r} is in it twice")
    return table
