"""The record between the stages: what a cache was made with, and when it may be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cache.schema import PROMPTED_MASKS
from pipeline.errors import CacheError
from pipeline.recipe import Recipe, merge_recipe
from stages import products
from stages.manifest import describe, read_manifest, write_manifest
from stages.runs import Run

PRINTS = {"masks": "a" * 16, "assistant": "b" * 16, "ensemble": "c" * 16}


def test_the_manifest_hands_fingerprints_to_stage_two(tmp_path: Path) -> None:
    run = Run(Recipe(), tmp_path)
    write_manifest(run, PRINTS)
    assert read_manifest(run) == PRINTS


def test_stage_two_refuses_a_cache_of_other_settings_and_names_them(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"fusion": {"theta": 0.5}})
    with pytest.raises(CacheError, match="fusion"):
        read_manifest(Run(changed, tmp_path))


def test_prompts_of_the_assistant_make_the_cache_stale_whether_they_came_or_went(tmp_path: Path) -> None:
    without = Run(Recipe(), tmp_path)
    asked = Run(merge_recipe(Recipe(), {"sam": {"prompt_things": True}}), tmp_path)
    write_manifest(without, PRINTS)
    with pytest.raises(CacheError, match="other settings of sam"):
        read_manifest(asked)
    write_manifest(asked, {**PRINTS, PROMPTED_MASKS: "d" * 16})
    assert read_manifest(asked) == {**PRINTS, PROMPTED_MASKS: "d" * 16}
    with pytest.raises(CacheError, match="other settings of sam"):
        read_manifest(without)


def test_settings_of_stage_two_do_not_make_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"distill": {"steps": 7}, "losses": {"boundary": 0.0}, "student": {"seed": 3}})
    assert read_manifest(Run(changed, tmp_path)) == PRINTS


def test_settings_of_views_that_are_not_shown_do_not_make_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    narrow = {"views": {"fov": 60.0}}
    assert read_manifest(Run(merge_recipe(Recipe(), narrow), tmp_path)) == PRINTS
    with pytest.raises(CacheError, match="assistant, views"):
        read_manifest(Run(merge_recipe(Recipe(), {**narrow, "assistant": {"views_weight": 0.5}}), tmp_path))


def test_settings_of_speed_do_not_make_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"sam": {"points_per_batch": 7, "memory_gib": 3.0}})
    assert read_manifest(Run(changed, tmp_path)) == PRINTS


def test_another_source_of_masks_makes_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    with pytest.raises(CacheError, match="other settings of sam"):
        read_manifest(Run(merge_recipe(Recipe(), {"sam": {"kind": "stock"}}), tmp_path))


def test_a_project_that_was_moved_keeps_its_cache(tmp_path: Path) -> None:
    def recipe(folder: str, checkpoint: str = "vit_b.pth") -> Recipe:
        return merge_recipe(Recipe(), {"sam": {"model": "vit_b", "checkpoint": f"{folder}/{checkpoint}"},
                                       "panorama": {"ignore_mask": f"{folder}/rig.png"}})  # fmt: skip

    (tmp_path / "rig.png").write_bytes(b"a mask")
    write_manifest(Run(recipe(str(tmp_path)), tmp_path), PRINTS)
    assert read_manifest(Run(recipe("/elsewhere"), tmp_path)) == PRINTS
    with pytest.raises(CacheError, match="other settings of sam"):
        read_manifest(Run(recipe(str(tmp_path), "finetuned.pth"), tmp_path))


def test_a_network_of_another_owner_on_the_hub_makes_the_cache_stale(tmp_path: Path) -> None:
    def recipe(name: str) -> Recipe:
        return merge_recipe(Recipe(), {"assistant": {"kind": "transformers", "name": name}})

    write_manifest(Run(recipe("one/segformer"), tmp_path), PRINTS)
    with pytest.raises(CacheError, match="other settings of assistant"):
        read_manifest(Run(recipe("another/segformer"), tmp_path))


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("panorama.ignore_mask", {}),
        ("sam.checkpoint", {"sam": {"model": "vit_b"}}),
        ("assistant.name", {"assistant": {"kind": "onnx"}}),
    ],
)
def test_another_file_of_the_same_name_makes_the_cache_stale(
    tmp_path: Path, key: str, settings: dict[str, dict[str, object]]
) -> None:
    def run(folder: str) -> Run:
        table, name = key.split(".")
        other = {table: {**settings.get(table, {}), name: str(tmp_path / folder / "file")}}
        return Run(merge_recipe(Recipe(), {"assistant": {"kind": "demo"}, **other}), tmp_path)

    for folder, content in (("one", b"content"), ("same", b"content"), ("another", b"another")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_bytes(content)
    write_manifest(run("one"), PRINTS)
    assert [read_manifest(run(folder)) for folder in ("one", "same", "gone")] == [PRINTS] * 3
    with pytest.raises(CacheError, match=f"other content of {key}"):
        read_manifest(run("another"))
    (tmp_path / "one" / "file").write_bytes(b"replaced in place")
    with pytest.raises(CacheError, match=f"other content of {key}"):
        read_manifest(run("one"))


def test_another_promptable_network_in_the_same_folder_makes_the_cache_stale(tmp_path: Path) -> None:
    network = tmp_path / "sam2"
    network.mkdir()
    (network / "config.json").write_text("{}")
    run = Run(merge_recipe(Recipe(), {"sam": {"kind": "transformers", "name": str(network)}}), tmp_path)
    write_manifest(run, PRINTS)
    assert read_manifest(run) == PRINTS
    (network / "config.json").write_text("{ }")
    with pytest.raises(CacheError, match=r"other content of sam\.name"):
        read_manifest(run)


def test_other_names_in_a_file_of_classes_make_the_cache_stale(tmp_path: Path) -> None:
    def run(folder: str) -> Run:
        file = str(tmp_path / folder / "classes.json")
        return Run(merge_recipe(Recipe(), {"label_set": file, "assistant": {"label_set": file}}), tmp_path)

    for folder, name in (("one", "wall"), ("moved", "wall"), ("other", "floor")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classes.json").write_text(f'{{"id2label": {{"0": "{name}"}}}}')
    write_manifest(run("one"), PRINTS)
    assert read_manifest(run("moved")) == PRINTS
    with pytest.raises(CacheError, match="other settings of assistant, label_set"):
        read_manifest(run("other"))


def test_a_cache_of_earlier_code_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Recipe(), tmp_path)
    write_manifest(run, PRINTS)
    newer = replace(products.PRODUCTS[-1], version=99)
    monkeypatch.setattr(products, "PRODUCTS", (*products.PRODUCTS[:-1], newer))
    with pytest.raises(CacheError, match=r"other code; .* Run `goodsam teacher-cache` again"):
        read_manifest(run)


def test_without_stage_one_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache` first"):
        read_manifest(Run(Recipe(), tmp_path))


@pytest.mark.parametrize("content", ['{"settings"', "{}", "[]", '{"settings": {}, "fingerprints": {"masks": "a"}}'])
def test_a_damaged_record_is_reported_in_one_sentence(tmp_path: Path, content: str) -> None:
    run = Run(Recipe(), tmp_path)
    run.manifest.write_text(content)
    with pytest.raises(CacheError, match=r"teacher\.json is damaged.*Run `goodsam teacher-cache` again"):
        read_manifest(run)


def test_descriptions_are_plain_json() -> None:
    assert describe(products.product("assistant"), Recipe())["settings"]["assistant"]["feature_levels"] == [1, 2, 3, 4]
