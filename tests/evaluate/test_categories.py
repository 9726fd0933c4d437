"""Coarser categories: every class in exactly one, and their figures from the classes' counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from pipeline.errors import RecipeError
from pipeline.evaluate.categories import open_categories
from pipeline.evaluate.ladder import Ladder, LadderInput
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sphere import solid_angles
from pipeline.recipe import load_recipe, parse_recipe

ROOM = LabelSet("room.json", ("Wall", "floor", "door"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), ())


def test_cityscapes_19_have_the_7_categories_and_the_13_of_densepass_too() -> None:
    found = open_categories("cityscapes7", CITYSCAPES_19)
    assert found is not None
    assert found.names == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
    assert found.of_class == (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6)
    narrow = open_categories("cityscapes7", DENSEPASS_13)
    assert narrow is not None and narrow.of_class == (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6)
    assert narrow.record(DENSEPASS_13)["human"] == ["person"]
    assert open_categories("", CITYSCAPES_19) is None


def test_a_file_lists_the_classes_in_either_case(tmp_path: Path) -> None:
    file = tmp_path / "coarse.json"
    file.write_text(json.dumps({"built": ["wall", "Door"], "ground": ["floor"], "open": ["sky"]}), encoding="utf-8-sig")
    found = open_categories(str(file), ROOM)
    assert found is not None and (found.names, found.of_class) == (("built", "ground"), (0, 1, 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"built": ["wall", "doors"]}',
            r"without a category: floor, door; not a class: doors",
        ),
        ('{"a": ["wall", "floor"], "b": ["floor", "door"]}', r"in more than one: floor"),
        ('{"a": ["wall", "wall", "floor", "door"]}', r"in more than one: Wall"),
        ('{"a": ["wall"], "a": ["floor", "door"]}', r"'a' is in it twice"),
        ('{"a": "wall"}', r"not an object of lists of class names"),
        ('{"a": [1]}', r"not an object of lists of class names"),
        ('{"a": []}', r"not an object of lists of class names"),
        ("{}", r"not an object of lists of class names"),
        ("[]", r"cannot be used"),
        ("", r"cannot be used"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "coarse.json"
    file.write_text(content)
    with pytest.raises(RecipeError, match=message):
        open_categories(str(file), ROOM)


def test_unknown_names_missing_files_and_other_label_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.categories is 'coarse'"):
        open_categories("coarse", CITYSCAPES_19)
    with pytest.raises(RecipeError, match=r"none\.json, which cannot be used"):
        open_categories(str(tmp_path / "none.json"), CITYSCAPES_19)
    with pytest.raises(RecipeError, match=r"'cityscapes7', which does not fit .*without a category: floor, door\)"):
        open_categories("cityscapes7", ROOM)


def test_a_recipe_is_refused_at_once_and_a_file_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "coarse.json").write_text(json.dumps({"all": list(CITYSCAPES_19.names)}))
    (tmp_path / "my.toml").write_text('[evaluation]\ncategories = "coarse.json"\n')
    recipe = load_recipe(tmp_path / "my.toml")
    assert recipe.evaluation.categories == str(tmp_path / "coarse.json")
    assert recipe.categories is not None and recipe.categories.names == ("all",)
    with pytest.raises(RecipeError, match="categories"):
        parse_recipe({"evaluation": {"categories": "cityscapes8"}})


def test_figures_are_those_of_labels_that_were_merged_before_counting() -> None:
    categories = open_categories("cityscapes7", CITYSCAPES_19)
    assert categories is not None
    rng = np.random.default_rng(0)
    ladder = Ladder(19, categories=categories)
    table = np.full(256, 255, np.uint8)
    table[:19] = categories.of_class
    pixels, solid = ConfusionMatrix(7), ConfusionMatrix(7, weighted=True)
    for _ in range(2):
        labels, prediction = rng.choice([*range(12), 255], (2, 16, 32)).astype(np.uint8)
        ladder.add(LadderInput(labels, {"student": prediction}))
        pixels.add(table[labels], table[prediction])
        solid.add(table[labels], table[prediction], solid_angles(16, 32))
    found = ladder.rungs()[0].categories
    assert found is not None
    assert list(found.per_category_iou) == list(categories.names)
    np.testing.assert_allclose(list(found.per_category_iou.values()), pixels.per_class_iou)
    assert np.isnan(found.per_category_iou["vehicle"])
    assert (found.miou, found.pixel_accuracy) == pytest.approx((pixels.miou, pixels.accuracy))
    assert found.miou_solid_angle == pytest.approx(solid.miou)
    assert Ladder(19).categories is None


def test_merging_keeps_what_is_not_covered() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([[0, 1, 2]], np.uint8), np.array([[1, 255, 255]], np.uint8))
    coarse = matrix.merged((0, 0, 1))
    assert coarse.matrix.tolist() == [[1, 0], [0, 0]]
    assert coarse.uncovered.tolist() == [1, 1]
