"""The panoramas of a recipe: those to learn from and those to evaluate on, under ids that cannot clash in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.panorama.finding import find_panoramas
from pipeline.recipe import Recipe

LEARNING = "panoramas"
EVALUATION = "evaluation"


@dataclass(frozen=True)
class SplitPanorama:
    """A panorama of one split."""

    id: str
    """`<split>/<path in its folder without suffix>`: its name in the store."""
    path: Path
    """The image file."""


def learning_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """The unlabelled panoramas of `data.panoramas`.

    Raises:
        InputError: the folder is not set, missing or holds no panorama.
    """
    if not recipe.data.panoramas:
        raise InputError("data.panoramas is empty", "it must name a folder of panoramas", "Set it in the recipe")
    return _split(Path(recipe.data.panoramas), LEARNING, recipe.data.limit)


def evaluation_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """The panoramas of `data.evaluation`, or those of `data.panoramas` where it is not set.

    Raises:
        InputError: the folder is missing or holds no panorama.
    """
    if not recipe.data.evaluation:
        return learning_panoramas(recipe)
    return _split(Path(recipe.data.evaluation), EVALUATION, recipe.data.limit)


def all_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """Every panorama of the recipe once, those to learn from first.

    Raises:
        InputError: as `learning_panoramas` and `evaluation_panoramas`.
    """
    found = {p.id: p for p in (*learning_panoramas(recipe), *evaluation_panoramas(recipe))}
    return list(found.values())


def _split(folder: Path, name: str, limit: int) -> list[SplitPanorama]:
    panoramas = [SplitPanorama(f"{name}/{p.id}", p.path) for p in find_panoramas(folder)]
    return panoramas[:limit] if limit else panoramas
