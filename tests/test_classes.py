"""Label sets by name and by file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.classes import (
    CITYSCAPES_19,
    DENSEPASS_13,
    LabelSet,
    can_merge,
    label_set,
    named_classes,
)
from pipeline.errors import RecipeError


def write_classes(path: Path, names: list[str]) -> Path:
    path.write_text(json.dumps({"model_type": "segformer", "id2label": dict(enumerate(names))}))
    return path


def test_known_sets_have_names() -> None:
    assert label_set("cityscapes19") is CITYSCAPES_19
    assert label_set("densepass13") is DENSEPASS_13


def test_a_networks_config_names_its_classes(tmp_path: Path) -> None:
    found = label_set(str(write_classes(tmp_path / "config.json", ["wall", "floor", "window"])))
    assert found.names == ("wall", "floor", "window")
    assert found.thin == ()
    assert len(set(found.palette)) == 3


def test_a_file_with_the_names_of_a_known_set_is_that_set(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "config.json", list(CITYSCAPES_19.names))
    assert label_set(str(path)) is CITYSCAPES_19


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    path = write_classes(tmp_path / "config.json", ["wall"])
    assert label_set(str(path)).names == ("wall",)
    write_classes(path, ["floor"])
    os.utime(path, ns=(1, 1))
    assert label_set(str(path)).names == ("floor",)


def test_many_classes_have_different_colours() -> None:
    palette = named_classes(dict(enumerate(map(str, range(150)))), "many").palette
    assert len(set(palette)) == 150
    assert all(0 <= value <= 255 for colour in palette for value in colour)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "no JSON",
        "[]",
        '{"labels": {"0": "wall"}}',
        '{"id2label": {}}',
        '{"id2label": {"0": "wall", "2": "floor"}}',
        '{"id2label": {"wall": 0}}',
        json.dumps({"id2label": {str(class_id): f"class {class_id}" for class_id in range(256)}}),
    ],
)
def test_a_file_that_names_no_classes_is_refused_in_one_sentence(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecipeError, match=r"assistant\.label_set names .*config\.json.*id2label"):
        label_set(str(path), "assistant.label_set")


def test_a_byte_order_mark_before_the_names_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.write_text('{"id2label": {"0": "wall", "1": "Tür"}}', encoding="utf-8-sig")
    assert label_set(str(path)).names == ("wall", "Tür")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["wall", "floor", "wall"], "classes 0 and 2 are both called wall"),
        (["wall", None], "class 1 has no name"),
        (["", "wall"], "class 0 has no name"),
        (["wall", "  "], "class 1 has no name"),
    ],
)
def test_every_class_of_a_file_has_a_name_of_its_own(tmp_path: Path, names: list[str | None], found: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"id2label": dict(enumerate(names))}))
    with pytest.raises(RecipeError, match=rf"names .*classes\.json, where {found}; every class") as refusal:
        label_set(str(path), "label_set")
    assert "\n" not in str(refusal.value)


def test_sets_of_the_same_names_merge_wherever_they_come_from() -> None:
    one, other = (LabelSet(name, ("wall", "floor"), ((1, 2, 3), (4, 5, 6)), ()) for name in ("one", "other"))
    assert can_merge(one, other)
    assert not can_merge(one, DENSEPASS_13)
