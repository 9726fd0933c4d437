"""The recipe that `goodsam adapt` writes: its name, its place, and what it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.classes import CITYSCAPES_19
from pipeline.errors import InputError, RecipeError
from pipeline.recipe import Recipe, load_recipe
from pipeline.teacher.config import AssistantConfig
from stages.adapted_recipe import (
    adapted,
    is_written,
    require_place,
    require_trainable,
    usual_file,
)
from stages.tuned_recipe import write_recipe

ONNX = AssistantConfig(kind="onnx", name="net.onnx", output="scores")


@pytest.mark.parametrize(
    ("recipe", "file"),
    [
        ("demo", "demo.adapted.toml"),
        ("my/photos.toml", "my/photos.adapted.toml"),
        ("photos.adapted.toml", "photos.adapted-2.toml"),
        ("photos.adapted-9.toml", "photos.adapted-10.toml"),
        ("photos.tuned.toml", "photos.tuned.adapted.toml"),
    ],
)
def test_each_round_has_a_file_of_its_own_beside_the_recipe(recipe: str, file: str):
    assert usual_file(recipe) == Path(file)


def test_the_recipe_differs_in_its_name_and_its_assistant_alone(tmp_path: Path):
    before = Recipe(name="mine", assistant=AssistantConfig(whole_weight=0.5, window_scale=2.0))
    first = adapted(before, tmp_path, CITYSCAPES_19)
    assert first == replace(
        before,
        name="mine-adapted",
        assistant=replace(before.assistant, kind="transformers", name=str(tmp_path), label_set="cityscapes19"),
    )
    assert [adapted(first, tmp_path, CITYSCAPES_19).name, adapted(replace(before, name="a-adapted-4"), tmp_path,
            CITYSCAPES_19).name] == ["mine-adapted-2", "a-adapted-5"]  # fmt: skip


def test_it_is_read_back_and_known_again(tmp_path: Path):
    out, network = tmp_path / "mine.adapted.toml", tmp_path / "final"
    network.mkdir()
    recipe = adapted(Recipe(name="mine"), network, CITYSCAPES_19)
    assert not is_written(out, network)
    write_recipe(out, recipe, "adapt", "better by a little")
    assert load_recipe(out) == recipe
    assert out.read_text().startswith("# Written by `goodsam adapt`: better by a little.\n")
    assert is_written(out, network) and not is_written(out, tmp_path / "other")


@pytest.mark.parametrize("name", ['the "best"', "back\\slash", "Stra\u00dfe"])
def test_a_network_of_any_path_is_known_again(tmp_path: Path, name: str):
    out, network = tmp_path / "mine.adapted.toml", tmp_path / name / "final"
    write_recipe(out, adapted(Recipe(name="mine"), network, CITYSCAPES_19), "adapt", "better by a little")
    assert is_written(out, network)
    out.write_text(f"[assistant]\nname = '{network}'\n")  # as its owner may write it
    assert is_written(out, network)


def test_only_its_own_file_may_be_there(tmp_path: Path):
    out, network = tmp_path / "mine.adapted.toml", tmp_path / "final"
    require_place(out, network, overwrite=False)
    write_recipe(out, adapted(Recipe(), network, CITYSCAPES_19), "adapt", "good")
    require_place(out, network, overwrite=False)
    with pytest.raises(InputError, match="exists"):
        require_place(out, tmp_path / "other", overwrite=False)
    require_place(out, tmp_path / "other", overwrite=True)
    with pytest.raises(InputError, match=r"ends with \.toml"):
        require_place(tmp_path / "mine.txt", network, overwrite=False)


def test_an_onnx_assistant_is_refused_by_name():
    with pytest.raises(RecipeError, match=r"net\.onnx, an ONNX file, which only predicts") as error:
        require_trainable(Recipe(assistant=ONNX))
    assert 'assistant.kind = "transformers"' in str(error.value)
    require_trainable(Recipe())
