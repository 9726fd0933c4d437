"""The panoramas of a recipe: those to learn from and those to evaluate on, under ids that cannot clash in the store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.panorama.finding import PanoramaFile, require_folder, survey_folder
from pipeline.panorama.ignore_masks import IgnoreMasks, choose_ignore_masks
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


@dataclass(frozen=True)
class SplitContents:
    """The panoramas of one or more splits, and what their folders hold besides."""

    panoramas: list[SplitPanorama]
    """Every panorama once."""
    set_aside: dict[str, str]
    """Why, by `<split>/<path in its folder>`, for each file that looks like a panorama and cannot be one."""
    notes: list[str]
    """What the folders hold besides, a sentence each."""
    beyond_limit: list[SplitPanorama]
    """Further panoramas, which `data.limit` leaves out."""

    @property
    def measured(self) -> int:
        """Number of panoramas of the split to evaluate on, where that has a folder of its own."""
        return sum(panorama.id.startswith(f"{EVALUATION}/") for panorama in self.panoramas)

    def ignore_masks(self, recipe: Recipe) -> IgnoreMasks:
        """The ignore mask of each panorama.

        Raises:
            InputError: as `choose_ignore_masks`.
        """
        return choose_ignore_masks(recipe.panorama, _files(self.panoramas), _files(self.beyond_limit))


def require_learning_folder(recipe: Recipe) -> None:
    """Refuse a recipe whose `data.panoramas` is not there, without looking into it.

    Raises:
        InputError: the folder is not set, or missing.
    """
    require_folder(_learning_folder(recipe))


def require_evaluation_folder(recipe: Recipe) -> None:
    """Refuse a recipe whose panoramas to evaluate on are not there, without looking into their folder.

    Raises:
        InputError: the folder is not set, or missing, or there are patterns for it and it is not set.
    """
    require_folder(Path(recipe.data.evaluation) if _has_evaluation(recipe) else _learning_folder(recipe))


def learning_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """The unlabelled panoramas of `data.panoramas`.

    Raises:
        InputError: the folder is not set, missing or holds no panorama.
    """
    return survey_learning(recipe).panoramas


def evaluation_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """The panoramas of `data.evaluation`, or those of `data.panoramas` where it is not set.

    Raises:
        InputError: the folder is missing or holds no panorama, or there are patterns for it and it is not set.
    """
    return survey_evaluation(recipe).panoramas


def all_panoramas(recipe: Recipe) -> list[SplitPanorama]:
    """Every panorama of the recipe once, those to learn from first.

    Raises:
        InputError: as `learning_panoramas` and `evaluation_panoramas`.
    """
    return survey_splits(recipe).panoramas


def survey_splits(recipe: Recipe) -> SplitContents:
    """All of `all_panoramas`, and what their folders hold besides.

    Raises:
        InputError: as `learning_panoramas` and `evaluation_panoramas`.
    """
    has_evaluation, learning = _has_evaluation(recipe), survey_learning(recipe)
    if not has_evaluation:
        return learning
    evaluation = survey_evaluation(recipe)
    return SplitContents(
        learning.panoramas + evaluation.panoramas,
        {**learning.set_aside, **evaluation.set_aside},
        learning.notes + evaluation.notes,
        learning.beyond_limit + evaluation.beyond_limit,
    )


def survey_learning(recipe: Recipe) -> SplitContents:
    """All of `learning_panoramas`, and what the folder holds besides.

    Raises:
        InputError: as `learning_panoramas`.
    """
    return _survey(_learning_folder(recipe), LEARNING, recipe)


def survey_evaluation(recipe: Recipe) -> SplitContents:
    """All of `evaluation_panoramas`, and what their folder holds besides.

    Raises:
        InputError: as `evaluation_panoramas`.
    """
    if not _has_evaluation(recipe):
        return survey_learning(recipe)
    return _survey(Path(recipe.data.evaluation), EVALUATION, recipe)


def _learning_folder(recipe: Recipe) -> Path:
    if not recipe.data.panoramas:
        raise InputError("data.panoramas is empty", "it must name a folder of panoramas", "Set it in the recipe")
    return Path(recipe.data.panoramas)


def _has_evaluation(recipe: Recipe) -> bool:
    """Whether the panoramas to evaluate on have a folder of their own."""
    data = recipe.data
    if data.evaluation_only and not data.evaluation:
        raise InputError(f"data.evaluation_only is {list(data.evaluation_only)}, and data.evaluation is empty",
                         "the patterns choose among the files of that folder",
                         "Set data.evaluation, to the folder of data.panoramas perhaps, or leave the patterns out"
                         )  # fmt: skip
    return bool(data.evaluation)


def _survey(folder: Path, split: str, recipe: Recipe) -> SplitContents:
    others = [Path(path) for path in (recipe.data.labels, recipe.panorama.ignore_mask) if path]
    only = recipe.data.evaluation_only if split == EVALUATION else recipe.data.panoramas_only
    contents = survey_folder(folder, others, only)
    panoramas = [SplitPanorama(f"{split}/{p.id}", p.path) for p in contents.panoramas]
    set_aside = {f"{split}/{name}": reason for name, reason in contents.set_aside.items()}
    notes = [f"{folder}: {note}" for note in contents.notes]
    limit = recipe.data.limit or len(panoramas)
    return SplitContents(panoramas[:limit], set_aside, notes, panoramas[limit:])


def _files(panoramas: list[SplitPanorama]) -> list[PanoramaFile]:
    return [PanoramaFile(panorama.id.partition("/")[2], panorama.path) for panorama in panoramas]
