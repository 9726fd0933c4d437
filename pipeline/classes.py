"""Label sets: names, palette, thin classes, and how a larger set merges into a smaller one."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline import known_classes
from pipeline.errors import RecipeError
from pipeline.known_classes import IGNORE as IGNORE
from pipeline.known_classes import MERGES


@dataclass(frozen=True)
class LabelSet:
    """Classes that a network predicts; a class id is a position in `names`."""

    name: str
    """Name in recipes and messages: cityscapes19, densepass13, or the file that defines it."""
    names: tuple[str, ...]
    """Class names in the order of their ids."""
    palette: tuple[tuple[int, int, int], ...]
    """RGB colour per class, 0..255."""
    thin: tuple[int, ...]
    """Ids of classes with thin or small objects, which fusion can protect from large masks."""
    stuff: tuple[int, ...] = ()
    """Ids of classes without countable objects: ground, buildings and walls, plants, sky."""

    def __len__(self) -> int:
        return len(self.names)


def distinct_colour(number: int) -> tuple[int, int, int]:
    """RGB colour, 0..255, of a class or mask: hues by the golden ratio, so that close numbers differ."""
    hue, saturation = (number * 0.61803398875 + 0.1) % 1, 0.75 if number % 3 else 0.5
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 1.0 if number % 2 else 0.8)
    return round(255 * red), round(255 * green), round(255 * blue)


CITYSCAPES_19 = LabelSet(
    name="cityscapes19",
    names=known_classes.CITYSCAPES_19,
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    thin=(5, 6, 7, 11, 12, 17, 18),
    stuff=(0, 1, 2, 3, 4, 8, 9, 10),
)  # fmt: skip
"""Cityscapes train ids: the labels of DensePASS (19 classes) and of most perspective networks."""

DENSEPASS_13 = LabelSet(
    name="densepass13",
    names=known_classes.DENSEPASS_13,
    palette=(*CITYSCAPES_19.palette[:12], CITYSCAPES_19.palette[13]),
    thin=(5, 6, 7, 11),
    stuff=CITYSCAPES_19.stuff,
)
"""The 13-class protocol of DensePASS: the first twelve Cityscapes classes and car. The demo world has the same set."""


def _coloured(name: str, names: tuple[str, ...], *thin: str) -> LabelSet:
    """A set in distinct colours, with the names of its thin classes."""
    return LabelSet(name, names, tuple(map(distinct_colour, range(len(names)))), tuple(map(names.index, thin)))


LABEL_SETS = {
    label_set.name: label_set
    for label_set in (
        CITYSCAPES_19,
        DENSEPASS_13,
        _coloured("cityscapes34", known_classes.CITYSCAPES_34, "pole", "traffic light", "traffic sign", "person",
                  "rider", "motorcycle", "bicycle"),
        _coloured("wildpass8", known_classes.WILDPASS_8, "person", "curb"),
        _coloured("mapillary26", known_classes.MAPILLARY_26, "pole", "street light", "traffic light", "bicycle",
                  "motorcycle", "traffic sign front", "traffic sign back", "curb", "person", "motorcyclist",
                  "bicyclist"),
        _coloured("stanford13", known_classes.STANFORD_13, "beam", "chair", "column"),
        _coloured("stanford8", known_classes.STANFORD_8, "chair"),
        _coloured("synpass22", known_classes.SYNPASS_22, "pedestrian", "pole", "road line", "traffic sign",
                  "traffic light"),
        _coloured("nyu40", known_classes.NYU_40, "chair", "lamp", "person"),
        _coloured("camvid11", known_classes.CAMVID_11, "pole", "sign", "pedestrian", "bicyclist"),
        _coloured("camvid12", known_classes.CAMVID_12, "pole", "sign", "pedestrian", "bicyclist"),
    )
}  # fmt: skip
"""Known sets by name; `known_classes` says where their classes come from. Which of the added ones are thin is ours."""


def is_file_of_classes(name: str) -> bool:
    """Whether a setting names a label set by a file."""
    return name.endswith(".json")


def label_set(name: str, key: str = "label_set") -> LabelSet:
    """The label set of that name, or of a JSON file with the class names in `id2label`, such as a network's
    config.json.

    Args:
        name: of a known set, or a path that ends with .json.
        key: the setting that holds `name`, for messages.

    Raises:
        RecipeError: no such set or file, or a file that leaves a class without a name or gives two the same.
    """
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    if not is_file_of_classes(name):
        known = " or ".join(LABEL_SETS)
        raise RecipeError(f"{key} is {name!r}", f"it must be {known}, or a JSON file whose id2label names the classes",
                          f"Correct {key}" + ("" if key.startswith("--") else " in the recipe"))  # fmt: skip
    try:
        return _read_classes(name, Path(name).stat().st_mtime_ns)
    except _NamesError as error:
        raise RecipeError(f"{key} names {name}, where {error}", "every class needs a unique name",
                          f"Correct id2label in {name}") from error  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(f"{key} names {name}, which cannot be used ({type(error).__name__}: {error})",
                          f"it must be a JSON file whose id2label names up to {IGNORE} classes, numbered from 0",
                          "Take the config.json of a segmentation network") from error  # fmt: skip


class _NamesError(ValueError):
    """A class has no name, or two have the same."""


@lru_cache(maxsize=16)
def _read_classes(name: str, _changed_ns: int) -> LabelSet:
    # utf-8-sig: Windows' editors write a byte order mark at the beginning.
    id2label = json.loads(Path(name).read_text(encoding="utf-8-sig"))["id2label"]
    _require_names(id2label)
    return named_classes({int(class_id): str(label) for class_id, label in id2label.items()}, name)


def _require_names(id2label: Mapping[str, object]) -> None:
    """Refuse unnamed classes and duplicate names.

    Raises:
        _NamesError: one has none, or two have the same.
    """
    first_with: dict[str, str] = {}
    for class_id, label in id2label.items():
        name = "" if label is None else str(label).strip()
        if not name:
            raise _NamesError(f"class {class_id} has no name")
        if name in first_with:
            raise _NamesError(f"classes {first_with[name]} and {class_id} are both called {name}")
        first_with[name] = class_id


def named_classes(id2label: Mapping[int, str], name: str) -> LabelSet:
    """The known label set with these class names, or else a new one, with distinct colours and neither thin classes nor
    stuff.

    Raises:
        ValueError: the ids are not 0, 1, 2, ..., or there are too many.
    """
    if sorted(id2label) != list(range(len(id2label))) or not 0 < len(id2label) <= IGNORE:
        raise ValueError(f"{len(id2label)} classes with the ids {', '.join(map(str, sorted(id2label)[:5]))}, ...")
    names = tuple(id2label[class_id] for class_id in range(len(id2label)))
    for known in LABEL_SETS.values():
        if known.names == names:
            return known
    return LabelSet(name, names, tuple(map(distinct_colour, range(len(names)))), thin=())


def folded(name: str) -> str:
    """A class name for comparisons: upper and lower case are the same, surrounding space is dropped."""
    return name.strip().casefold()


def can_merge(source: LabelSet, target: LabelSet) -> bool:
    """Whether the ids of `source` can be read as ids of `target`."""
    return source.names == target.names or (source.name, target.name) in MERGES
