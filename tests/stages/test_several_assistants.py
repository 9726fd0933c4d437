"""Several assistants: products of their own, their mean, and pixels on which they do not agree."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import goodsam
from pipeline.cache import codec
from pipeline.cache.schema import ASSISTANT, ASSISTANTS_BLEND, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.errors import CacheError, InputError, RecipeError, WeightsError
from pipeline.evaluate.report import text_of
from pipeline.pretrained import DEMO
from pipeline.recipe import Recipe, load_recipe, merge_recipe, parse_recipe, to_toml
from pipeline.tune.blends import Blend
from stages.adapted_recipe import adapted
from stages.evaluate import evaluate
from stages.events import silent
from stages.export_task import ExportTask, export_panorama
from stages.garbage import find_garbage
from stages.manifest import read_manifest, write_manifest
from stages.product_settings import voting_assistant
from stages.products import fingerprints, products_of
from stages.reading import RunReader
from stages.runs import Run, open_run
from stages.splits import learning_panoramas
from stages.status import run_status
from stages.teacher_cache import teacher_cache
from stages.tuned_recipe import tuned
from stages.turned_panorama import TurnedStageOne
from stages.verify import verify
from tests.stages.small_run import RECIPE, arrays_of, discard, make_folders, read_product, small_run

SECOND = f"{ASSISTANT}_2"
OTHER: dict[str, Any] = {
    "kind": "transformers", "name": str(DEMO / "student_start"), "label_set": "densepass13", "window_scale": 0.5
}  # fmt: skip
TWO: dict[str, Any] = {"further_assistants": [OTHER]}
PANORAMA = "panoramas/1"


def recipe_of(folder: Path, **tables: object) -> Recipe:
    (folder / "small.toml").write_text(RECIPE)
    return small_run(folder, **tables).recipe


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [name for name in before if before[name] != after.get(name)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of one assistant and then of two; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_folders(folder)
    teacher_cache(small_run(folder, data={"limit": 2}), silent)
    summary = teacher_cache(small_run(folder, data={"limit": 2}, **TWO), silent)
    assert summary.products == {SECOND: 3, ASSISTANTS_BLEND: 3, ENSEMBLE: 3}
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def run_of(folder: Path, **tables: object) -> Run:
    return small_run(folder, data={"limit": 2}, **tables)


def test_a_recipe_with_further_assistants_is_written_and_read_back(tmp_path: Path) -> None:
    own = 'label_set = "densepass13"\n[[further_assistants]]\nkind = "onnx"\nname = "other.onnx"\nweight = 0.5\n'
    (tmp_path / "mine.toml").write_text(own + '[[further_assistants]]\nlabel_set = "densepass13"\n[assistant]\n'
                                        'kind = "onnx"\nname = "first.onnx"\nlabel_set = "cityscapes19"')  # fmt: skip
    recipe = load_recipe(tmp_path / "mine.toml")
    assert [one.name for one in recipe.assistants] == [str(tmp_path / n) for n in ("first.onnx", "other.onnx")] + [""]
    assert [one.weight for one in recipe.further_assistants] == [0.5, 1.0]
    for explained in (False, True):
        assert parse_recipe(tomllib.loads(to_toml(recipe, explained))) == recipe
    assert merge_recipe(recipe, {}) == recipe
    assert open_run(str(tmp_path / "mine.toml")).recipe == recipe


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"further_assistants": [OTHER, OTHER]}, "the same network twice"),
        ({"further_assistants": [{"label_set": "densepass13"}]}, "the same network twice"),
        ({"fusion": {"agree": 2}}, r"fusion\.agree is 2; it must be 0 without further_assistants"),
        ({**TWO, "fusion": {"agree": 3}}, r"fusion\.agree is 3; it must be at most the number of assistants, 2"),
        ({**TWO, "fusion": {"agree": 1}}, r"fusion\.agree is 1; it must be 0, or 2 and more"),
        ({"further_assistants": [{**OTHER, "name": str(n)} for n in range(5)]}, "is 5; it must be at most 4"),
        ({"further_assistants": [{**OTHER, "label_set": "stanford13"}]}, r"further_assistants\[0\]\.label_set"),
        ({"further_assistants": [{**OTHER, "feature_levels": [1]}]}, "features come from the first assistant"),
        ({"further_assistants": [{**OTHER, "weight": -1.0}]}, r"further_assistants\.weight is -1\.0"),
        ({"further_assistants": [{**OTHER, "window_scale": 9.0}]}, r"further_assistants\.window_scale is 9\.0"),
        ({"further_assistants": [{**OTHER, "nme": "x"}]}, r"further_assistants\[0\]\.nme is not a setting"),
        ({"further_assistants": OTHER}, "further_assistants is .*; it must be a list"),
        ({"further_assistants": ["x"]}, r"further_assistants\[0\] is 'x'; it must be a table"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path, tables: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        recipe_of(tmp_path, **tables)


def test_a_copy_of_the_same_network_is_refused_by_its_content(tmp_path: Path) -> None:
    copy = shutil.copytree(DEMO / "assistant", tmp_path / "copy")
    recipe = recipe_of(tmp_path, further_assistants=[{**OTHER, "name": str(copy)}])
    with pytest.raises(RecipeError, match="the same network twice"):
        fingerprints(recipe)


def test_errors_of_a_further_network_name_its_table(tmp_path: Path) -> None:
    gone = {**OTHER, "kind": "onnx", "name": str(tmp_path / "gone.onnx")}
    with pytest.raises(WeightsError, match=r"further_assistants\.name is an ONNX file"):
        fingerprints(recipe_of(tmp_path, further_assistants=[gone]))


def test_a_further_assistant_changes_the_ensemble_and_neither_masks_nor_the_first(tmp_path: Path) -> None:
    one, two = recipe_of(tmp_path), recipe_of(tmp_path, **TWO)
    before, after = fingerprints(one), fingerprints(two)
    assert [p.name for p in products_of(two)] == [MASKS, ASSISTANT, SECOND, ASSISTANTS_BLEND, ENSEMBLE]
    assert changed(before, after) == [ENSEMBLE]
    assert (voting_assistant(one), voting_assistant(two)) == (ASSISTANT, ASSISTANTS_BLEND)
    weighted = fingerprints(recipe_of(tmp_path, further_assistants=[{**OTHER, "weight": 0.5}]))
    assert changed(after, weighted) == [ASSISTANTS_BLEND, ENSEMBLE]
    assert changed(after, fingerprints(recipe_of(tmp_path, fusion={"agree": 2}, **TWO))) == [ENSEMBLE]
    prompted = recipe_of(tmp_path, sam={"prompt_things": True}, **TWO)
    heavier = replace(prompted, further_assistants=(replace(prompted.further_assistants[0], weight=2.0),))
    assert changed(fingerprints(prompted), fingerprints(heavier)) == [ASSISTANTS_BLEND, PROMPTED_MASKS, ENSEMBLE]


def test_one_network_has_one_name_in_whichever_place(tmp_path: Path) -> None:
    first = recipe_of(tmp_path, assistant={**OTHER, "feature_levels": []})
    assert fingerprints(first)[ASSISTANT] == fingerprints(recipe_of(tmp_path, **TWO))[SECOND]


def test_the_blend_is_the_mean_of_both_and_counts_who_agrees(finished: Path) -> None:
    run = run_of(finished, **TWO)
    own = [codec.decode_probabilities(read_product(run, name, PANORAMA)["assistant_probabilities"])
           for name in (ASSISTANT, SECOND)]  # fmt: skip
    blend = read_product(run, ASSISTANTS_BLEND, PANORAMA)
    mean_CHW = (own[0] + own[1]) / 2
    np.testing.assert_allclose(codec.decode_probabilities(blend["assistant_probabilities"]), mean_CHW, atol=0.02)
    agree = np.sum([one.argmax(0) == mean_CHW.argmax(0) for one in own], axis=0)
    np.testing.assert_array_equal(blend["agreeing_assistants"], agree)
    assert 0 < (agree == 2).mean() < 1
    assert not any(name.startswith("features") for name in read_product(run, SECOND, PANORAMA))


def test_pixels_on_which_too_few_agree_keep_their_class_and_are_unreliable(folder: Path) -> None:
    before = read_product(run_of(folder, **TWO), ENSEMBLE, PANORAMA)
    run = run_of(folder, fusion={"agree": 2}, **TWO)
    assert teacher_cache(run, silent).products == {ENSEMBLE: 3}
    after, blend = (read_product(run, name, PANORAMA) for name in (ENSEMBLE, ASSISTANTS_BLEND))
    for name in ("ensemble_labels", "ensemble_probabilities", "boundary", "ignored"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    agreed = blend["agreeing_assistants"] == 2
    np.testing.assert_array_equal(after["reliability"], before["reliability"] & agreed)
    assert (after["reliability"] != before["reliability"]).any()


def test_a_resumed_run_computes_what_is_missing_of_a_further_assistant_as_before(folder: Path) -> None:
    run = run_of(folder, **TWO)
    before = arrays_of(run)
    for name in (SECOND, ENSEMBLE):
        discard(run, name, PANORAMA)
    assert teacher_cache(run, silent).products == {SECOND: 1, ENSEMBLE: 1}
    found = arrays_of(run)
    assert found.keys() == before.keys()
    for key, array in before.items():
        np.testing.assert_array_equal(found[key], array, err_msg=str(key))


def test_without_the_further_assistant_the_first_ones_results_are_read_again(folder: Path) -> None:
    with pytest.raises(CacheError, match="further_assistants"):
        read_manifest(run_of(folder))
    assert teacher_cache(run_of(folder), silent).products == {}
    with pytest.raises(CacheError, match="other settings of further_assistants"):
        read_manifest(run_of(folder, **TWO))


def test_what_a_further_assistant_lacks_is_told_and_kept_from_the_garbage(folder: Path) -> None:
    run = run_of(folder, **TWO)
    assert verify(run) == []
    unused = {garbage.path.parent.name for garbage in find_garbage(run.cache)}
    assert unused == {ENSEMBLE}  # of the run with one assistant
    status = run_status(run)
    assert (status.panoramas["done"], status.problems) == (3, [])
    more = run_of(folder, further_assistants=[{**OTHER, "window_scale": 1.0}])
    assert run_status(more).to_compute == {MASKS: 0, ASSISTANT: 0, SECOND: 3, ASSISTANTS_BLEND: 3, ENSEMBLE: 3}


def test_a_recorded_manifest_tells_a_swapped_assistant(tmp_path: Path) -> None:
    run = Run(recipe_of(tmp_path, **TWO), tmp_path / "run")
    write_manifest(run, fingerprints(run.recipe))
    other = recipe_of(tmp_path, further_assistants=[{**OTHER, "whole_weight": 0.5}])
    with pytest.raises(CacheError, match="other settings of assistant"):
        read_manifest(Run(other, tmp_path / "run"))


def test_evaluation_has_a_rung_for_each_assistant_and_for_where_they_agree(folder: Path) -> None:
    run = run_of(folder, fusion={"agree": 2}, **TWO)
    teacher_cache(run, silent)
    found = evaluate(run, silent)
    assert "Assistants: 1 is demo, 2 is student_start; assistant blend is their mean." in text_of(found.metrics)
    rungs = {rung["name"]: rung for rung in found.metrics["ladder"]}
    first = ["assistant_whole", "assistant_1_blend", "assistant_2_blend", "assistant_blend", "assistants_agree"]
    assert [*rungs][:5] == first
    assert rungs["assistants_agree"]["coverage"] < rungs["assistant_blend"]["coverage"] == 1
    assert len({rungs[name]["miou"] for name in first}) == 5


def test_the_student_learns_from_the_mean_and_the_firsts_features(finished: Path) -> None:
    run = run_of(finished, **TWO)
    sample = RunReader.open(run, learning_panoramas(run.recipe)).sample_reader(PANORAMA)
    expected = read_product(run, ASSISTANTS_BLEND, PANORAMA)["assistant_probabilities"]
    np.testing.assert_array_equal(sample.assistant_CHW, expected)
    assert set(sample.features) == {1, 2, 3, 4}


def test_where_they_agree_is_exported_beside_reliability(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, fusion={"agree": 2}, **TWO)
    teacher_cache(run, silent)
    goodsam.export(run, tmp_path / "maps", silent, size="working")
    shown = np.array(Image.open(tmp_path / "maps" / "agreement" / "1.png"))
    agreeing = read_product(run, ASSISTANTS_BLEND, PANORAMA)["agreeing_assistants"]
    np.testing.assert_array_equal(shown, np.array([0, 128, 255], np.uint8)[agreeing])
    own_size = goodsam.export(run, tmp_path / "own", silent, what=["agreement"])
    assert (own_size.written, own_size.failed) == (2, {})
    with pytest.raises(InputError, match="it is that of several assistants, and the recipe has one"):
        goodsam.export(run_of(folder), tmp_path / "one", silent, what=["agreement"])
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    one = replace(reader, recipe=run_of(folder).recipe)
    task = ExportTask(PANORAMA, "1", "1.jpg", one, tmp_path / "one", False, frozenset({"agreement"}), {})
    failed = export_panorama(task).failed
    assert failed and "the recipe has one" in failed.error, "the writer itself refuses it, too"


def test_tuning_and_adapting_change_the_first_and_leave_the_others(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, **TWO)
    changed = (tuned(recipe, Blend(0.5, 0.0)), adapted(recipe, tmp_path / "network", recipe.classes))
    for one in changed:
        assert one.further_assistants == recipe.further_assistants
        assert one.assistant != recipe.assistant


def test_a_turned_panorama_is_seen_by_all_assistants(folder: Path) -> None:
    run = run_of(folder, **TWO)
    teacher_cache(run, silent)
    stage_one = TurnedStageOne(RunReader.open(run, learning_panoramas(run.recipe)), "cpu")
    stored, computed = stage_one.reader.teacher(PANORAMA), stage_one(PANORAMA, stage_one.reader.image(PANORAMA), 0)
    assert len(stored.own_CHW) == 2
    for name, array in vars(stored).items():
        np.testing.assert_array_equal(getattr(computed, name), array, err_msg=name)
