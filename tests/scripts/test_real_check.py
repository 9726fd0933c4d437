"""The run on real panoramas: what its student begins with, and what it is validated on."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.recipe import parse_recipe
from scripts.real_check import real_run
from stages.init import FoundPictures, recipe_text


def test_a_student_may_begin_with_another_and_be_validated_on_panoramas_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "assistant").mkdir()
    (tmp_path / "assistant" / "network.onnx").touch()
    cache = tmp_path / "cache"
    plain = real_run(tmp_path, cache, steps=40, limit=0).recipe
    assert (plain.student.weights, plain.distill.validation) == ("", 0)
    recipe = real_run(tmp_path, cache, steps=40, limit=0, held_out=8, start="world").recipe
    assert (recipe.student.weights, recipe.distill.validation, recipe.distill.validate_every) == ("world", 8, 4)
    assert (cache / "real" / "rig.png").exists()


def test_mobile_sam_finds_the_masks_as_in_recipes_for_a_machine_without_a_gpu(tmp_path: Path) -> None:
    (tmp_path / "assistant").mkdir()
    (tmp_path / "assistant" / "network.onnx").touch()
    demo = real_run(tmp_path, tmp_path / "cache", steps=1, limit=0)
    run = real_run(tmp_path, tmp_path / "cache", steps=1, limit=0, sam=Path("mobile_sam.pt"))
    assert (demo.recipe.sam.model, run.recipe.sam.model, run.recipe.sam.checkpoint) == (
        "demo", "vit_t", "mobile_sam.pt")  # fmt: skip
    found = FoundPictures(str(tmp_path), 40, 0, {"2048x1024": 40}, vertical_fov=180, others=0, positions=0, sampled=40,
                          parts=0, rig_share=0, gpu="")  # fmt: skip
    proposed = parse_recipe(tomllib.loads(recipe_text(found, "mine", "mobile_sam.pt")))
    assert run.recipe.sam == proposed.sam
    assert run.folder != demo.folder, "each keeps its results"


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.onnx file"):
        real_run(tmp_path, tmp_path / "cache", steps=1, limit=0)
