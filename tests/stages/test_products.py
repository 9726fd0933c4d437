"""Products are named by all that decides their content, and by nothing else."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.errors import RecipeError, WeightsError
from pipeline.recipe import Recipe
from pipeline.teacher.config import SAM_OPTIONAL
from pipeline.teacher.identity import DEMO_WEIGHTS
from stages import products
from stages.manifest import describe
from stages.product_settings import voting_masks
from stages.products import Product, all_products, fingerprints, product, products_of
from tests.stages.small_run import RECIPE, small_run


def recipe_of(folder: Path, **tables: dict[str, object]) -> Recipe:
    (folder / "small.toml").write_text(RECIPE)
    return small_run(folder, **tables).recipe


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


def test_names_are_unique_and_inputs_are_declared_before_what_is_made_of_them() -> None:
    seen: list[str] = []
    for declared in all_products():
        assert declared.name.isidentifier() and declared.name == declared.name.lower()
        assert set(declared.inputs) <= set(seen)
        seen.append(declared.name)
        assert product(declared.name) is declared
    assert len(seen) == len(set(seen))


def test_a_products_fingerprint_is_in_those_that_are_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path)
    before = fingerprints(recipe)
    for raised, follows in ((MASKS, [MASKS, ENSEMBLE]), (ASSISTANT, [ASSISTANT, ENSEMBLE]), (ENSEMBLE, [ENSEMBLE])):
        versions = tuple(dataclasses.replace(p, version=p.version + (p.name == raised)) for p in all_products())
        with monkeypatch.context() as patch:
            patch.setattr(products, "PRODUCTS", versions)
            assert changed(before, fingerprints(recipe)) == follows


def test_settings_of_fusion_that_came_later_are_in_no_fingerprint_while_they_are_off(tmp_path: Path) -> None:
    ensemble = product(ENSEMBLE)
    off = ensemble.settings(recipe_of(tmp_path))["fusion"]
    assert off.keys() == {"theta", "unreliable", "protect_thin", "large_mask", "uncovered_confidence",
                          "uncovered_agreement"}  # fmt: skip
    for key, value in {
        "thin_runner_up": 0.2,
        "give_back": ["sidewalk in road"],
        "join_rule": "doubtful",
        "paint_from": 0.5,
    }.items():
        assert ensemble.settings(recipe_of(tmp_path, fusion={key: value}))["fusion"].keys() == {*off, key}


def test_settings_of_sam_that_came_later_are_in_no_fingerprint_while_they_are_off(tmp_path: Path) -> None:
    masks = product(MASKS)
    off = masks.settings(recipe_of(tmp_path))["sam"]
    assert not off.keys() & SAM_OPTIONAL.keys()
    for key, value in {"refine": 1, "jitter": 0.01, "context": 0.1, "keep_levels": True}.items():
        assert masks.settings(recipe_of(tmp_path, sam={key: value}))["sam"].keys() == {*off, key}


def test_prompts_of_the_assistant_are_a_product_of_their_own_beside_the_grids_masks(tmp_path: Path) -> None:
    off, on = recipe_of(tmp_path), recipe_of(tmp_path, sam={"prompt_things": True})
    before, after = fingerprints(off), fingerprints(on)
    assert PROMPTED_MASKS not in before and voting_masks(off) == MASKS
    assert voting_masks(on) == PROMPTED_MASKS
    assert [declared.name for declared in products_of(on)] == [MASKS, ASSISTANT, PROMPTED_MASKS, ENSEMBLE]
    assert changed(before, after) == [ENSEMBLE]
    more = fingerprints(recipe_of(tmp_path, sam={"prompt_things": True, "points_in_doubt": 3}))
    assert changed(after, more) == [PROMPTED_MASKS, ENSEMBLE]
    other_assistant = recipe_of(tmp_path, sam={"prompt_things": True}, assistant={"whole_weight": 0.5})
    assert changed(after, fingerprints(other_assistant)) == [ASSISTANT, PROMPTED_MASKS, ENSEMBLE]


def test_fusion_that_needs_more_of_the_masks_is_refused_where_it_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"another unless sam\.jitter is above 0"):
        recipe_of(tmp_path, fusion={"weigh_by": "prompt_stability"})
    recipe_of(tmp_path, fusion={"weigh_by": "prompt_stability"}, sam={"jitter": 0.01})
    with pytest.raises(RecipeError, match=r"false unless sam\.keep_levels is true"):
        recipe_of(tmp_path, fusion={"one_per_prompt": True})
    recipe_of(tmp_path, fusion={"one_per_prompt": True}, sam={"keep_levels": True})


def test_unknown_objects_concern_the_ensemble_only_where_the_student_ignores_them(tmp_path: Path) -> None:
    before = fingerprints(recipe_of(tmp_path))
    assert not changed(before, fingerprints(recipe_of(tmp_path, unknown={"min_entropy": 0.2})))
    assert changed(before, fingerprints(recipe_of(tmp_path, unknown={"ignored_by_student": True}))) == [ENSEMBLE]


def test_weights_count_by_content_and_not_by_name_or_place(tmp_path: Path) -> None:
    def names(path: Path) -> dict[str, str]:
        return fingerprints(recipe_of(tmp_path, sam={"checkpoint": str(path)}))

    here, there, other = tmp_path / "sam.pth", tmp_path / "elsewhere" / "other_name.pth", tmp_path / "tuned.pth"
    there.parent.mkdir()
    for path in (here, there, other):
        shutil.copyfile(DEMO_WEIGHTS, path)
    other.write_bytes(other.read_bytes() + b"tuned")
    assert names(here) == names(there)
    assert changed(names(here), names(other)) == [MASKS, ENSEMBLE]
    with pytest.raises(WeightsError, match=r"gone\.pth"):
        names(tmp_path / "gone.pth")


def test_a_panoramas_own_mask_is_in_the_name_of_what_sees_it_alone() -> None:
    picture, mask = "ab" * 32, "cd" * 32
    for declared in all_products():
        without, with_mask = declared.entry(picture, ""), declared.entry(picture, mask)
        assert without == picture[:32]
        assert (with_mask != without) == declared.sees_ignore_mask
        assert declared.entry("ef" * 32, mask) != with_mask
    assert [declared.name for declared in all_products() if declared.sees_ignore_mask] == [ENSEMBLE]
    assert product(ENSEMBLE).entry(picture, mask) != product(ENSEMBLE).entry(picture, "ef" * 32)


def test_a_declaration_that_names_no_files_has_none(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    assert Product("other", 1, lambda _: {}, lambda _: {}).files(recipe) == {}


def test_what_a_fingerprint_stands_for_is_reported_in_full(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, fusion={"theta": 0.65})
    described = {declared.name: describe(declared, recipe) for declared in products_of(recipe)}
    assert described[ENSEMBLE]["settings"]["fusion"]["theta"] == 0.65
    assert (
        described[MASKS]["settings"]["panorama"]["width"]
        == described[ASSISTANT]["settings"]["panorama"]["width"]
        == 128
    )
    assert described[MASKS]["files"]["sam.checkpoint"]["content"]
    assert not {"points_per_batch", "memory_gib"} & described[MASKS]["settings"]["sam"].keys()
