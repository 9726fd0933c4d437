"""The panoramas of a recipe: ids that cannot clash, limits, and what folders hold besides."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.recipe import Recipe
from stages.splits import (
    all_panoramas,
    evaluation_panoramas,
    learning_panoramas,
    require_evaluation_folder,
    survey_splits,
)
from tests.stages.small_run import RECIPE, small_run


def recipe_of(folder: Path, **data: object) -> Recipe:
    """The recipe of a folder whose `photos` has three panoramas, one nested, and whose `held_out` has two."""
    (folder / "small.toml").write_text(RECIPE)
    for name in ("photos/a", "photos/b", "photos/deep/c", "held_out/a", "held_out/d"):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (128, 64), "gray").save(path)
    return small_run(folder, data=data).recipe


def test_panoramas_of_one_name_in_both_splits_have_ids_of_their_own(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    assert [p.id for p in learning_panoramas(recipe)] == ["panoramas/a", "panoramas/b", "panoramas/deep/c"]
    assert [p.id for p in evaluation_panoramas(recipe)] == ["evaluation/a", "evaluation/d"]
    everything = all_panoramas(recipe)
    assert everything == learning_panoramas(recipe) + evaluation_panoramas(recipe)
    assert len({p.id for p in everything}) == 5
    assert all(p.path.is_file() for p in everything)


def test_without_a_folder_of_its_own_evaluation_is_on_what_is_learned_from(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, evaluation="")
    assert evaluation_panoramas(recipe) == learning_panoramas(recipe) == all_panoramas(recipe)


def test_the_limit_holds_for_either_split(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, limit=1)
    assert [p.id for p in all_panoramas(recipe)] == ["panoramas/a", "evaluation/a"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_that_is_not_set_or_not_there_is_reported(tmp_path: Path, folder: str) -> None:
    recipe = recipe_of(tmp_path, panoramas=folder and str(tmp_path / folder))
    with pytest.raises(InputError, match=folder or r"data\.panoramas is empty"):
        learning_panoramas(recipe)


def test_what_was_set_aside_is_named_with_its_split(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    for split, name in (("photos", "a"), ("held_out", "d")):
        Image.new("RGB", (128, 64)).save(tmp_path / split / f"{name}.jpg")  # of the same id as a .png
    found = survey_splits(recipe)
    assert {name.rpartition(".")[0] for name in found.set_aside} == {"panoramas/a", "evaluation/d"}
    assert [p.id for p in found.panoramas] == ["panoramas/b", "panoramas/deep/c", "evaluation/a"]


def test_labels_that_lie_among_the_panoramas_are_none_of_them(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, labels=str(tmp_path / "photos" / "deep"))
    assert [p.id for p in learning_panoramas(recipe)] == ["panoramas/a", "panoramas/b"]


def test_patterns_for_a_folder_that_is_not_set_are_refused(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, evaluation="", evaluation_only=("a.png",))
    for survey in (evaluation_panoramas, survey_splits, require_evaluation_folder):
        with pytest.raises(InputError, match=r"data\.evaluation_only .* data\.evaluation is empty"):
            survey(recipe)
    assert len(learning_panoramas(recipe)) == 3
