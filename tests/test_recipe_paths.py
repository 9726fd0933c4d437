"""Relative paths of a recipe start at its folder; names, absolute paths and what is no path stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.recipe_paths import LABEL_SET_KEYS, NAME_OR_PATH_KEYS, PATH_KEYS, anchored


def setting(table: str, key: str, value: Any, folder: Path) -> Any:
    """What becomes of a setting."""
    found = anchored({table: {key: value}} if table else {key: value}, folder)
    return (found[table] if table else found)[key]


@pytest.mark.parametrize(("table", "key"), PATH_KEYS)
def test_paths_start_at_the_recipes_folder_and_absolute_ones_stay(table: str, key: str, tmp_path: Path) -> None:
    assert setting(table, key, "some/folder", tmp_path) == str(tmp_path / "some" / "folder")
    assert setting(table, key, "/absolute", tmp_path) == "/absolute"
    assert setting(table, key, "", tmp_path) == "", "nothing is no path"


@pytest.mark.parametrize(("table", "key"), NAME_OR_PATH_KEYS)
def test_names_of_the_hub_stay_unless_there_is_such_a_path(table: str, key: str, tmp_path: Path) -> None:
    assert setting(table, key, "nvidia/mit-b5", tmp_path) == "nvidia/mit-b5"
    assert setting(table, key, "./nvidia", tmp_path) == str(tmp_path / "nvidia")
    assert setting(table, key, "mine/net.onnx", tmp_path) == str(tmp_path / "mine" / "net.onnx")
    (tmp_path / "nvidia" / "mit-b5").mkdir(parents=True)
    (tmp_path / "demo").mkdir()
    assert setting(table, key, "nvidia/mit-b5", tmp_path) == str(tmp_path / "nvidia" / "mit-b5")
    assert setting(table, key, "demo", tmp_path) == "demo", "the embedded networks, whatever lies there"


@pytest.mark.parametrize(("table", "key"), LABEL_SET_KEYS)
def test_label_sets_are_files_if_they_end_with_json(table: str, key: str, tmp_path: Path) -> None:
    assert setting(table, key, "densepass13", tmp_path) == "densepass13"
    assert setting(table, key, "classes.json", tmp_path) == str(tmp_path / "classes.json")


def test_further_assistants_are_anchored_as_the_first(tmp_path: Path) -> None:
    table = {"further_assistants": [{"name": "./net", "label_set": "classes.json"}, "no table"]}
    first, second = anchored(table, tmp_path)["further_assistants"]
    assert first == {"name": str(tmp_path / "net"), "label_set": str(tmp_path / "classes.json")}
    assert second == "no table", "it is refused when the settings are built"
    assert table["further_assistants"][0] == {"name": "./net", "label_set": "classes.json"}, "what was given stays"


@pytest.mark.parametrize("table", [{"data": "no table"}, {"data": {"panoramas": 3}}, {"data": {"other": "a/b"}}, {}])
def test_what_is_no_path_stays_as_it_is(table: dict[str, Any], tmp_path: Path) -> None:
    assert anchored(table, tmp_path) == table


def test_the_home_folder_is_known_or_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert setting("data", "panoramas", "~/photos", tmp_path) == "/home/somebody/photos"
    with pytest.raises(RecipeError, match=r"data\.panoramas is '~nobody-at-all/photos'.*Write the whole path"):
        setting("data", "panoramas", "~nobody-at-all/photos", tmp_path)
