"""The file that `goodsam tune` writes: where it lies, what is refused before the search, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cache.schema import MASKS
from pipeline.errors import CacheError, InputError
from pipeline.panorama.config import ViewsConfig
from pipeline.recipe import Recipe, load_recipe
from pipeline.teacher.config import SamConfig
from pipeline.tune.blends import Blend, blend_of
from stages.products import fingerprints
from stages.tuned_recipe import require_free, tuned, usual_file, write_recipe


@pytest.mark.parametrize(
    ("recipe", "file"),
    [("my.toml", "my.tuned.toml"), ("deep/my.toml", "deep/my.tuned.toml"), ("street", "street.tuned.toml")],
)
def test_the_usual_file_lies_beside_the_recipe(recipe: str, file: str) -> None:
    assert usual_file(recipe) == Path(file)


def test_a_free_file_is_none_that_is_there_unless_asked_and_has_the_ending_of_recipes(tmp_path: Path) -> None:
    require_free(tmp_path / "new" / "deep.toml", overwrite=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "my.toml").touch()
    require_free(tmp_path / "my.toml", overwrite=True)
    with pytest.raises(InputError, match=r"my\.toml already exists; .*--overwrite"):
        require_free(tmp_path / "my.toml", overwrite=False)
    with pytest.raises(InputError, match=r"ends with \.toml"):
        require_free(tmp_path / "my.txt", overwrite=True)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match=r"folder\.toml is a folder"):
        require_free(tmp_path / "folder.toml", overwrite=True)


def test_a_file_that_could_not_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"out\.toml cannot be written .*Move it away"):
        require_free(tmp_path / "file" / "out.toml", overwrite=False)


def test_the_recipe_has_the_blend_and_a_name_of_its_own(tmp_path: Path) -> None:
    recipe = Recipe(name="my")
    blend = Blend(0.5, 0.0)
    chosen = tuned(recipe, blend)
    assert chosen.name == "my-tuned" == tuned(chosen, blend).name
    assert blend_of(chosen.assistant, chosen.views) == blend_of(tuned(chosen, blend).assistant, chosen.views)
    assert chosen.assistant.whole_weight != recipe.assistant.whole_weight
    assert (chosen.sam, chosen.windows, chosen.fusion) == (recipe.sam, recipe.windows, recipe.fusion)
    write_recipe(tmp_path / "my.toml", chosen, "tune", "it is 0.1 ahead")
    assert load_recipe(tmp_path / "my.toml") == chosen
    assert (tmp_path / "my.toml").read_text().startswith("# Written by `goodsam tune`: it is 0.1 ahead.\n")


@pytest.mark.parametrize("shown", [("views",), ("windows", "down"), ("level", "down")])
def test_masks_of_views_that_sam_is_shown_are_those_of_the_recipe_that_was_tuned(shown: tuple[str, ...]) -> None:
    recipe = Recipe(sam=SamConfig(shown=shown), views=ViewsConfig(level=6, down=4, up=0))
    masks = fingerprints(recipe)[MASKS]
    for blend in (Blend(0.25, 0.5, ("level",)), Blend(0.0, 0.5, ("level", "down"), (1.0, 0.5)), Blend(1.0, 0.0)):
        chosen = tuned(recipe, blend)
        assert fingerprints(chosen)[MASKS] == masks
        assert blend_of(chosen.assistant, chosen.views) == blend
