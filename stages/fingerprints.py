"""Names of stage one's three parts, from the settings and files that determine them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.cache.store import Part
from pipeline.classes import label_set
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.teacher.config import SamConfig
from pipeline.teacher.identity import assistant_identity, mask_source_identity, weights_digest
from stages.files import mask_digest
from stages.runs import SPEED_SETTINGS, VERSIONS, Fingerprints


def part_fingerprints(recipe: Recipe) -> Fingerprints:
    """Fingerprints of the three parts: everything that determines their content, and nothing else.

    Raises:
        GoodSAMError: weights or the ignore mask are missing.
    """
    size = (recipe.panorama.width, recipe.panorama.height, recipe.panorama.vertical_fov, recipe.panorama.level)
    masks = fingerprint(Part.MASKS, VERSIONS[Part.MASKS], size, recipe.windows, *_mask_source(recipe.sam))
    identity = assistant_identity(recipe.assistant)
    shows_views = recipe.assistant.views_weight > 0
    views = (recipe.views,) if shows_views else ()
    # Caches from before there were perspective views keep their names.
    unused = () if shows_views else ("views_weight", "views_scale")
    classes = (recipe.classes.names, label_set(recipe.assistant.label_set).names)
    assistant = fingerprint(Part.ASSISTANT, VERSIONS[Part.ASSISTANT], size, recipe.windows, classes,
                            _without(recipe.assistant, "name", "label_set", *unused), *views, identity)  # fmt: skip
    ignored = (recipe.panorama.find_constant_border, _mask_name(recipe.panorama.ignore_mask))
    ensemble = fingerprint(Part.ENSEMBLE, VERSIONS[Part.ENSEMBLE], masks, assistant, recipe.fusion, recipe.boundary,
                           recipe.classes.thin, ignored)  # fmt: skip
    return Fingerprints(masks, assistant, ensemble)


def _mask_source(config: SamConfig) -> tuple[dict[str, Any], str]:
    """What of the mask source stands in a fingerprint: settings, and what names the weights."""
    if config.kind == "transformers":
        return _without(config, "name", "model", "checkpoint", *SPEED_SETTINGS["sam"]), mask_source_identity(config)
    # Caches from before there was a choice of mask sources keep their names.
    usual = ("kind",) if config.kind == "sam" else ()
    return _without(config, "name", "checkpoint", *usual, *SPEED_SETTINGS["sam"]), weights_digest(config)


def _mask_name(path: str) -> str:
    """What of the ignore mask stands in a fingerprint; where each panorama has its own, its done mark names it."""
    return "of each panorama" if path and Path(path).is_dir() else mask_digest(path)


def _without(config: Any, *keys: str) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in keys}
