"""What of a recipe decides the content of each of stage one's products: settings, files, and which product is read.

Light, as the declarations are: a rerun that finds everything done, and stage two, need no more than these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, MASKS, PROMPTED_MASKS
from pipeline.classes import label_set
from pipeline.ensemble.config import OPTIONAL
from pipeline.panorama.config import OPTIONAL_OF_VIEWS, OPTIONAL_OF_WINDOWS, VIEW_GROUPS
from pipeline.recipe import Recipe
from pipeline.settings import without_unused
from pipeline.teacher.config import (
    FURTHER_PROMPTS,
    MOST_FURTHER,
    OPTIONAL_OF_ASSISTANT,
    OPTIONAL_OF_BOUNDARY,
    SAM_OPTIONAL,
    AssistantConfig,
)
from pipeline.teacher.identity import assistant_identity, mask_source_identity, weights_digest, weights_path
from stages.files import mask_digest

ASSISTANT_NAMES = (ASSISTANT, *(f"{ASSISTANT}_{number}" for number in range(2, 2 + MOST_FURTHER)))
"""Names of the products of a recipe's assistants, the first one's first."""
SPEED_SETTINGS = {"sam": ("points_per_batch", "memory_gib")}
"""Settings on which speed depends and no result."""
_SIZE = ("width", "height", "vertical_fov", "level")
"""Of the settings of panoramas, those that decide what the networks see; `height` follows from two others."""

_OF_EVERY_VIEW = ("tilt", "fov", "size", "source_width")
"""Of the settings of perspective views, those that decide what each of them shows."""


@dataclass(frozen=True)
class FileSetting:
    """A setting that names a file, a folder or a network: it counts by content, wherever that lies."""

    name: str
    """File name or name on the hub; compared where the content is not at hand."""
    content: Callable[[], str]
    """Names the content; raises InputError or WeightsError where it is missing."""
    is_at_hand: bool
    """Whether the content lies on this machine."""
    is_per_panorama: bool = False
    """The folder has a file for each panorama or camera: that of a panorama is in the name of its entry, so that a
    changed one concerns no other."""


def voting_masks(recipe: Recipe) -> str:
    """Name of the product whose masks vote."""
    return PROMPTED_MASKS if recipe.sam.prompts_further else MASKS


def voting_assistant(recipe: Recipe) -> str:
    """Name of the product whose probabilities label the masks: the assistant, or the mean of several."""
    return ASSISTANTS_BLEND if recipe.further_assistants else ASSISTANT


def assistants_of(recipe: Recipe) -> tuple[str, ...]:
    """Names of the products of a recipe's assistants."""
    return ASSISTANT_NAMES[: len(recipe.assistants)]


def assistant_of(recipe: Recipe, name: str) -> AssistantConfig:
    """The settings of a recipe's assistant by the name of its product."""
    return recipe.assistants[ASSISTANT_NAMES.index(name)]


def _common_settings(recipe: Recipe) -> dict[str, Any]:
    """Working size and windows, which decide what all networks see."""
    size = {name: getattr(recipe.panorama, name) for name in _SIZE}
    return {"panorama": size, "windows": without_unused(recipe.windows, OPTIONAL_OF_WINDOWS)}


def mask_settings(recipe: Recipe) -> dict[str, Any]:
    """What decides SAM's masks: its settings, the working size, and the windows and views that it is shown."""
    of_files = ("name", "model", "checkpoint") if recipe.sam.kind == "transformers" else ("name", "checkpoint")
    unused = (*of_files, *SPEED_SETTINGS["sam"], *FURTHER_PROMPTS, "shown")
    sam = {name: value for name, value in without_unused(recipe.sam, SAM_OPTIONAL).items() if name not in unused}
    common = _common_settings(recipe)
    if not recipe.sam.sees_windows:
        common.pop("windows")
    return {**common, "sam": sam, **_views_of_sam(recipe)}


def _views_of_sam(recipe: Recipe) -> dict[str, Any]:
    """The perspective views that SAM is shown, as far as it is; their weights are the assistant's."""
    views = recipe.views.only(recipe.sam.view_groups)
    shown = {group: views.count(group) for group in VIEW_GROUPS if views.count(group)}
    return {"views": {**shown, **{name: getattr(views, name) for name in _OF_EVERY_VIEW}}} if shown else {}


def mask_files(recipe: Recipe) -> dict[str, FileSetting]:
    """SAM's network."""
    sam = recipe.sam
    if sam.kind == "transformers":
        return {"sam.name": _network(sam.name, lambda: mask_source_identity(sam))}
    checkpoint = Path(sam.checkpoint)
    return {"sam.checkpoint": FileSetting(checkpoint.name, lambda: weights_digest(sam), weights_path(sam).is_file())}


def prompted_settings(recipe: Recipe) -> dict[str, Any]:
    """What decides the prompts that the assistant gives: the kinds of classes, and how many prompts."""
    return {
        "label_set": recipe.classes.names,
        "thin_classes": recipe.classes.thin,
        "stuff_classes": recipe.classes.stuff,
        "sam": _further_prompts(recipe),
        **_which_assistants(recipe),
    }


def _which_assistants(recipe: Recipe) -> dict[str, Any]:
    """That more than one assistant is asked, where they are: it decides which product's probabilities are read."""
    return {"further_assistants": len(recipe.further_assistants)} if recipe.further_assistants else {}


def _further_prompts(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe.sam, name) for name in FURTHER_PROMPTS}


def assistant_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """What decides the prediction of the assistant whose product has this name."""
    config = assistant_of(recipe, name)
    shows_views = config.views_weight > 0
    unused = ("name", "label_set", "weight", *(() if shows_views else ("views_weight", "views_scale")))
    named = without_unused(config, OPTIONAL_OF_ASSISTANT)
    return {
        **_common_settings(recipe),
        "label_set": recipe.classes.names,
        "assistant": {
            **{key: value for key, value in named.items() if key not in unused},
            "classes": label_set(config.label_set).names,
        },
        **({"views": without_unused(recipe.views, OPTIONAL_OF_VIEWS)} if shows_views else {}),
    }


def assistant_files(recipe: Recipe, name: str) -> dict[str, FileSetting]:
    """The network of the assistant whose product has this name."""
    assistant = assistant_of(recipe, name)
    if assistant.kind == "demo":
        return {"assistant.name": FileSetting("", lambda: assistant_identity(assistant), is_at_hand=True)}
    return {"assistant.name": _network(assistant.name, lambda: assistant_identity(assistant))}


def blend_settings(recipe: Recipe) -> dict[str, Any]:
    """How much each further assistant counts in the mean of all."""
    return {"weights": [further.weight for further in recipe.further_assistants]}


def ensemble_settings(recipe: Recipe) -> dict[str, Any]:
    """What decides the fusion, masks and predictions apart."""
    return {
        "thin_classes": recipe.classes.thin,
        "panorama": {"find_constant_border": recipe.panorama.find_constant_border},
        "fusion": without_unused(recipe.fusion, OPTIONAL),
        "boundary": without_unused(recipe.boundary, OPTIONAL_OF_BOUNDARY),
        **({"unknown": dataclasses.asdict(recipe.unknown)} if recipe.unknown.ignored_by_student else {}),
        **({"sam": _further_prompts(recipe)} if recipe.sam.prompts_further else {}),  # which masks vote
        **_which_assistants(recipe),
    }


def ensemble_files(recipe: Recipe) -> dict[str, FileSetting]:
    """The ignore mask."""
    mask = recipe.panorama.ignore_mask
    path = Path(mask)
    is_there = bool(mask) and path.exists()
    file = FileSetting(path.name, lambda: mask_digest(mask), is_there or not mask, bool(mask) and path.is_dir())
    return {"panorama.ignore_mask": file}


def _network(name: str, content: Callable[[], str]) -> FileSetting:
    path = Path(name).expanduser()
    return FileSetting(path.name if path.is_absolute() else name, content, path.exists())
