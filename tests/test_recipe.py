"""Recipes: what they accept, what they refuse, and that nothing is lost on the way to TOML and back."""

from __future__ import annotations

import codecs
import dataclasses
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.errors import RecipeError
from pipeline.recipe import Recipe, load_recipe, merge_recipe, parse_recipe, to_toml
from pipeline.recipe_paths import anchored
from pipeline.sentences import sentences, summary
from pipeline.settings import fingerprint
from pipeline.teacher.config import FurtherAssistantConfig
from stages import cli
from stages.runs import BUILT_IN, open_recipe


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.toml")), ids=lambda p: p.stem)
def test_built_in_recipes_survive_the_way_to_toml_and_back(path: Path) -> None:
    recipe = open_recipe(path.stem)
    assert parse_recipe(tomllib.loads(to_toml(recipe))) == recipe
    assert recipe.name == path.stem


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"sam": {"poins_per_side": 3}}, ["sam.poins_per_side", "sam.points_per_side"]),
        ({"steps": 3}, ["steps is not a setting", "distill.steps"]),
        ({"width": 3}, ["panorama.width or windows.width"]),
        ({"seed": 3}, ["Perhaps student.seed or adapt.seed is meant"]),
        ({"sam": 3}, ["sam", "table"]),
        ({"student": {"seed": 1.5}}, ["student.seed", "whole number"]),
        ({"student": {"seed": True}}, ["student.seed", "whole number"]),
        ({"fusion": {"theta": 2}}, ["fusion.theta", "between 0 and 1"]),
        ({"fusion": {"theta": float("nan")}}, ["fusion.theta", "finite"]),
        ({"fusion": {"unreliable": "drop"}}, ["fusion.unreliable", "'paint'", "'keep'"]),
        ({"assistant": {"feature_levels": [1, 9]}}, ["assistant.feature_levels", "1, 2, 3, 4"]),
        ({"windows": {"width": 1}}, ["windows.width is 1", "at least 32 pixels"]),
        ({"windows": {"height": 0}}, ["windows.height is 0", "at least 32 pixels"]),
        ({"windows": {"stride_y": 544}}, ["windows.stride_y", "at most the window's 512"]),
        ({"windows": {"stride_x": 48}}, ["windows.stride_x", "multiple of 32"]),
        ({"windows": {"stride_x": 160}}, ["windows.stride_x", "2048"]),
        ({"windows": {"more": [[512, 512, 32, 160]]}}, ["windows.more[0] stride_x is 160", "2048"]),
        ({"windows": {"more": [512, 512, 32, 64]}}, ["windows.more", "a list"]),
        ({"boundary": {"agreement": "shapes"}}, ["boundary.agreement", "windows.more adds another shape"]),
        ({"sam": {"model": "vit_h"}}, ["sam.checkpoint", "fetch-weights vit_h"]),
        ({"name": "../up"}, ["name"]),
        ({"label_set": "ade20k"}, ["label_set", "cityscapes19"]),
        ({"student": {"seed": -1}}, ["student.seed", "zero or a positive number"]),
        ({"student": {"seed": 2**63}}, ["student.seed", "63 bits"]),
        ({"data": {"labels_set": "ade20k"}}, ["data.labels_set", "densepass13"]),
        ({"data": {"labels_set": "densepass13"}}, ["data.labels_set", "merge into label_set (cityscapes19)"]),
        ({"assistant": {"label_set": "ade20k"}}, ["assistant.label_set", "cityscapes19"]),
        ({"assistant": {"label_set": "densepass13"}}, ["assistant.label_set", "merge into label_set (cityscapes19)"]),
    ],
)
def test_a_bad_setting_is_refused_with_its_name_and_what_it_may_be(table: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(table)
    assert all(name in str(caught.value) for name in names)


def test_paths_in_a_recipe_start_at_its_folder_and_hub_names_stay(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    file = tmp_path / "mine.toml"
    file.write_text(
        '[data]\npanoramas = "photos"\n'
        '[assistant]\nkind = "transformers"\nname = "org/net"\n'
        '[student]\nweights = "net"\n'
    )
    recipe = load_recipe(file)
    assert recipe.data.panoramas == str(tmp_path / "photos")
    assert recipe.assistant.name == "org/net"
    assert recipe.student.weights == str(tmp_path / "net")


def test_a_file_of_classes_lies_in_the_recipes_folder(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "config.json").write_text('{"id2label": {"0": "wall", "1": "floor"}}')
    file = tmp_path / "indoor.toml"
    file.write_text('label_set = "net/config.json"\n[assistant]\nlabel_set = "net/config.json"\n')
    recipe = load_recipe(file)
    assert recipe.classes.names == ("wall", "floor")
    assert recipe.label_set == recipe.assistant.label_set == str(tmp_path / "net" / "config.json")
    assert parse_recipe(tomllib.loads(to_toml(recipe))) == recipe
    with pytest.raises(RecipeError, match=r"assistant\.label_set is 'cityscapes19'"):
        merge_recipe(recipe, {"assistant": {"label_set": "cityscapes19"}})


def test_the_embedded_weights_are_not_taken_for_a_folder_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    table = {"student": {"weights": "demo"}, "data": {"panoramas": "/photos"}}
    assert anchored(table, tmp_path) == table


def test_what_can_only_be_a_path_is_one_though_it_is_not_there(tmp_path: Path) -> None:
    table = anchored({"assistant": {"name": "net.onnx"}, "student": {"weights": "./start"}}, tmp_path)
    assert table == {"assistant": {"name": str(tmp_path / "net.onnx")}, "student": {"weights": str(tmp_path / "start")}}
    nobody = "~nobody-of-this-name/photos"
    with pytest.raises(RecipeError, match=r"data\.panoramas is '~nobody-of-this-name/photos'; ~ stands for"):
        anchored({"data": {"panoramas": nobody}}, tmp_path)


def test_a_recipe_that_is_no_toml_or_not_there_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not exist"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "bad.toml")
    with pytest.raises(RecipeError, match="demo, goodsam, goodsam-figure, goodsam-plus-plus, street"):
        open_recipe("dmeo")


def test_a_recipe_saved_by_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    """With a byte order mark before its text and carriage returns at the ends of its lines."""
    (tmp_path / "mine.toml").write_bytes(b'\xef\xbb\xbfname = "mine"\r\nlabel_set = "densepass13"\r\n')
    recipe = load_recipe(tmp_path / "mine.toml")
    assert (recipe.name, recipe.label_set) == ("mine", "densepass13")


def test_overrides_change_one_setting_and_leave_the_rest() -> None:
    plain, changed = open_recipe("demo"), open_recipe("demo", ("fusion.theta=0.6", "name=other"))
    assert changed.fusion.theta == 0.6
    assert changed.name == "other"
    assert dataclasses.replace(changed, name="demo", fusion=plain.fusion) == plain
    with pytest.raises(RecipeError, match="no '='"):
        open_recipe("demo", ("fusion.theta",))


def test_merging_nothing_changes_nothing() -> None:
    assert merge_recipe(Recipe(), {}) == Recipe()


def test_a_fingerprint_follows_values_not_spelling() -> None:
    assert fingerprint(Recipe()) == fingerprint(parse_recipe({"fusion": {"theta": 0.7}}))
    assert fingerprint(Recipe()) != fingerprint(parse_recipe({"fusion": {"theta": 0.71}}))


SETTINGS = [
    Recipe,
    FurtherAssistantConfig,
    *(f.default_factory for f in dataclasses.fields(Recipe) if isinstance(f.default_factory, type)),
]


@pytest.mark.parametrize("owner", SETTINGS, ids=lambda owner: owner.__name__)
def test_every_setting_has_its_sentence(owner: type[Any]) -> None:
    """A string literal must follow every field of every settings dataclass."""
    assert list(sentences(owner)) == [f.name for f in dataclasses.fields(owner)]
    assert summary(owner)


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.toml")))
def test_a_printed_recipe_explains_every_setting_and_is_a_recipe(name: str, tmp_path: Path) -> None:
    printed = CliRunner().invoke(cli.app, ["recipe", name]).stdout_bytes
    lines = printed.decode().splitlines()
    for before, line in pairwise(lines):
        assert before.startswith("# ") or not line or line.startswith("#"), f"nothing is said of {line}"
    assert max(map(len, lines)) <= 120
    (tmp_path / "mine.toml").write_bytes(printed)
    assert parse_recipe(tomllib.loads((tmp_path / "mine.toml").read_text(encoding="utf-8"))) == open_recipe(name)


ODD = "a\nb\r\n\t\"double\" 'single' \\ C:\\new\\table # no comment \x01\x1b\x7f\x85\u2028 caf\u00e9 \U0001f642 [x] = 1"


@pytest.mark.parametrize("explained", [False, True])
def test_odd_texts_survive_the_way_to_toml_and_back(explained: bool) -> None:
    recipe = parse_recipe({"data": {"panoramas": ODD, "labels": "\\"}, "assistant": {"kind": "onnx", "name": '"'},
                           "distill": {"learning_rate": 1e-22, "weight_decay": 1e22}})  # fmt: skip
    assert parse_recipe(tomllib.loads(to_toml(recipe, explained))) == recipe
    assert merge_recipe(recipe, {}) == recipe


@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r\n").encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    ],
    ids=["line ends of Windows", "PowerShell", "big endian"],
)
def test_a_printed_recipe_may_be_written_by_windows(encoded: Callable[[str], bytes], tmp_path: Path) -> None:
    recipe = parse_recipe({"data": {"panoramas": f"/{ODD}"}})
    (tmp_path / "mine.toml").write_bytes(encoded(to_toml(recipe, explained=True)))
    assert load_recipe(tmp_path / "mine.toml") == recipe


def test_a_recipe_of_another_encoding_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes('[data]\npanoramas = "Stra\u00dfe"\n'.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"not UTF-8 .* Save it in that encoding"):
        load_recipe(tmp_path / "mine.toml")
