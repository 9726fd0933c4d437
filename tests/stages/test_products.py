"""Products are named by all that decides their content, and by nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.errors import RecipeError
from pipeline.recipe import Recipe
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
