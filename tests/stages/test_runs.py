"""Run folders and the manifest between the stages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cache.store import Part
from pipeline.errors import CacheError, RecipeError
from pipeline.recipe import Recipe, merge_recipe
from stages import cli, runs
from stages.runs import (
    Fingerprints,
    Run,
    open_recipe,
    open_run,
    read_manifest,
    run_left_in_current_folder,
    teacher_settings,
    write_manifest,
)

PRINTS = Fingerprints("a" * 16, "b" * 16, "c" * 16)


def test_the_manifest_hands_fingerprints_to_stage_two(tmp_path: Path) -> None:
    run = Run(Recipe(), tmp_path)
    write_manifest(run, PRINTS)
    assert read_manifest(run) == PRINTS


def test_stage_two_refuses_a_cache_of_other_settings_and_names_them(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"fusion": {"theta": 0.5}})
    with pytest.raises(CacheError, match="fusion"):
        read_manifest(Run(changed, tmp_path))


def test_settings_of_stage_two_do_not_make_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"distill": {"steps": 7}, "losses": {"boundary": 0.0}, "seed": 3})
    assert read_manifest(Run(changed, tmp_path)) == PRINTS


def test_a_cache_from_before_a_setting_existed_is_read_where_the_setting_has_its_default(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    record = json.loads((tmp_path / "teacher.json").read_text())
    del record["settings"]["views"], record["settings"]["assistant"]["views_weight"]
    (tmp_path / "teacher.json").write_text(json.dumps(record))
    assert read_manifest(Run(Recipe(), tmp_path)) == PRINTS
    with pytest.raises(CacheError, match="assistant"):
        read_manifest(Run(merge_recipe(Recipe(), {"assistant": {"views_weight": 0.5}}), tmp_path))


def test_settings_of_speed_do_not_make_the_cache_stale(tmp_path: Path) -> None:
    write_manifest(Run(Recipe(), tmp_path), PRINTS)
    changed = merge_recipe(Recipe(), {"sam": {"points_per_batch": 7, "memory_gib": 3.0}})
    assert read_manifest(Run(changed, tmp_path)) == PRINTS


def test_a_record_from_before_a_setting_existed_counts_as_its_default(tmp_path: Path) -> None:
    run = Run(Recipe(), tmp_path)
    write_manifest(run, PRINTS)
    record = json.loads(run.manifest.read_text())
    del record["settings"]["sam"]["kind"]
    run.manifest.write_text(json.dumps(record))
    assert read_manifest(run) == PRINTS
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
    with pytest.raises(CacheError, match="other content of label_set"):
        read_manifest(run("other"))


def test_a_cache_of_earlier_code_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Recipe(), tmp_path)
    write_manifest(run, PRINTS)
    monkeypatch.setitem(runs.VERSIONS, Part.ENSEMBLE, runs.VERSIONS[Part.ENSEMBLE] + 1)
    with pytest.raises(CacheError, match=r"other code; .* Run teacher-cache again"):
        read_manifest(run)


def test_a_path_without_its_ending_is_not_taken_for_a_recipe_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[data]\npanoramas = "photos"\n')
    assert open_recipe(str(tmp_path / "mine.toml")).data.panoramas == str(tmp_path / "photos")
    with pytest.raises(RecipeError, match="mine does not exist"):
        open_recipe(str(tmp_path / "mine"))


def test_without_stage_one_the_message_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="Run teacher-cache first"):
        read_manifest(Run(Recipe(), tmp_path))


def test_a_run_folder_that_cannot_be_made_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cannot be written"):
        Run(Recipe(), tmp_path / "file" / "run").record_recipe()


@pytest.mark.parametrize("content", ['{"settings"', "{}", "[]", '{"settings": {}, "fingerprints": {"masks": "a"}}'])
def test_a_damaged_record_is_told_in_one_sentence(tmp_path: Path, content: str) -> None:
    run = Run(Recipe(), tmp_path)
    run.manifest.write_text(content)
    with pytest.raises(CacheError, match=r"teacher\.json is damaged.*Run teacher-cache again"):
        read_manifest(run)


def test_teacher_settings_are_plain_json() -> None:
    assert teacher_settings(Recipe())["assistant"]["feature_levels"] == [1, 2, 3, 4]


PATHS = """
label_set = "classes.json"
[data]
panoramas = "photos"
evaluation = "../held_out"
labels = "labels"
labels_set = "classes.json"
[panorama]
ignore_mask = "rig.png"
[sam]
model = "vit_b"
checkpoint = "cache/weights/sam.pth"
[assistant]
kind = "onnx"
name = "net.onnx"
label_set = "classes.json"
[student]
weights = "start"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Has a recipe in its folder recipes; the current folder is another, here."""
    for folder in ("recipes/start", "here/start", "here/only_here"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "recipes" / "classes.json").write_text('{"id2label": {"0": "wall", "1": "floor"}}')
    (tmp_path / "recipes" / "my.toml").write_text(PATHS)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("name", ["../recipes/my.toml", "{project}/recipes/my.toml"])
def test_all_paths_of_a_recipe_and_its_cache_start_at_its_folder(project: Path, name: str) -> None:
    run = open_run(name.format(project=project))
    recipe, own = run.recipe, (project / "recipes").resolve()
    paths = (recipe.label_set, recipe.data.panoramas, recipe.data.evaluation, recipe.data.labels,
             recipe.data.labels_set, recipe.panorama.ignore_mask, recipe.sam.checkpoint, recipe.assistant.name,
             recipe.assistant.label_set, recipe.student.weights)  # fmt: skip
    assert all(Path(path).is_absolute() for path in paths)
    assert [str(Path(path).resolve().relative_to(project)) for path in paths] == [
        "recipes/classes.json", "recipes/photos", "held_out", "recipes/labels", "recipes/classes.json",
        "recipes/rig.png", "recipes/cache/weights/sam.pth", "recipes/net.onnx", "recipes/classes.json",
        "recipes/start"]  # fmt: skip
    assert run.folder.resolve() == own / "cache" / "run"


def test_paths_of_built_in_recipes_and_overrides_and_their_cache_start_at_the_current_folder(project: Path) -> None:
    here = project / "here"
    run = open_run("street", overrides=("student.weights=start",))
    assert run.folder.resolve() == here / "cache" / "street"
    assert (run.recipe.data.panoramas, run.recipe.student.weights) == (str(here / "panoramas"), str(here / "start"))
    mixed = open_run("../recipes/my.toml", overrides=("data.panoramas=mine", "name=other"))
    assert mixed.recipe.data.panoramas == str(here / "mine")
    assert mixed.folder.resolve() == project / "recipes" / "cache" / "other"


def test_a_named_cache_is_taken_as_named(project: Path) -> None:
    assert open_run("../recipes/my.toml", Path("runs")).folder == Path("runs/run")


def test_the_recipe_that_a_run_recorded_stands_for_that_run(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    run.record_recipe()
    (run.folder / "log.jsonl").touch()
    again = open_run(str(run.folder / "recipe.toml"))
    assert again.recipe == run.recipe
    assert again.folder.resolve() == run.folder.resolve()
    os.chdir(run.folder)  # the fixture goes back
    assert open_run("./recipe.toml").folder.resolve() == Path.cwd()


def test_a_network_that_is_only_in_the_current_folder_is_not_taken_silently(project: Path) -> None:
    (project / "recipes" / "my.toml").write_text('[student]\nweights = "only_here"\n')
    with pytest.raises(RecipeError, match=r"student\.weights is 'only_here', which is in the current folder"):
        open_recipe("../recipes/my.toml")
    chosen = open_recipe("../recipes/my.toml", ("student.weights=only_here",))
    assert chosen.student.weights == str(project / "here" / "only_here")


def test_a_cache_in_the_current_folder_is_told_where_the_recipes_own_place_has_none(project: Path) -> None:
    run = open_run("../recipes/my.toml")
    assert run_left_in_current_folder(run) == ""
    (project / "here" / "cache" / "run" / "teacher.zarr").mkdir(parents=True)
    told = run_left_in_current_folder(run)
    assert str(run.folder) in told and "--cache cache continues with that" in told
    result = CliRunner().invoke(cli.app, ["distill", "../recipes/my.toml"])
    assert f"note: {told}" in result.stderr
    assert run_left_in_current_folder(open_run("../recipes/my.toml", Path("cache"))) == ""
    run.store.mkdir(parents=True)
    assert run_left_in_current_folder(run) == ""


def test_a_file_named_without_its_ending_is_offered(project: Path) -> None:
    Path("mine.toml").touch()
    with pytest.raises(RecipeError, match=r"recipe 'mine' is unknown; .* Write mine\.toml"):
        open_recipe("mine")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("Demo", "Perhaps demo is meant"), ("steet", "Perhaps street is meant"), ("", "Check the name"),
     ("mine.txt", "Call the file mine.toml")],
)  # fmt: skip
def test_an_unknown_recipe_is_answered_with_what_may_be_meant(project: Path, name: str, remedy: str) -> None:
    Path("mine.txt").touch()
    with pytest.raises(RecipeError) as caught:
        open_recipe(name)
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("pair", ["=3", ".=3", "fusion.=3", ".theta=3"])
def test_an_override_without_a_name_is_told_as_it_was_written(pair: str) -> None:
    with pytest.raises(RecipeError, match="names no setting") as caught:
        open_recipe("demo", (pair,))
    assert pair in caught.value.found


def test_what_no_path_may_have_is_refused_with_its_setting(project: Path) -> None:
    (project / "recipes" / "my.toml").write_text('[data]\npanoramas = "ph\\u0000tos"\n')
    with pytest.raises(RecipeError, match=r"data\.panoramas is .*; it must be a text without NUL"):
        open_run("../recipes/my.toml")
    with pytest.raises(RecipeError, match="recipes is a folder; a recipe is a TOML file"):
        open_recipe("../recipes")
