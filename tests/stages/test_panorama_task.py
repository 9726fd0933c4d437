"""One panorama through stage one: what is computed, what is left as it is, and how it ends where it cannot be done."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.arrays import ImageArray
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS, PROMPTED_MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import GoodSAMError, InputError, WeightsError
from pipeline.recipe import Recipe
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from stages.files import digest
from stages.panorama_records import size_and_time
from stages.panorama_task import cache_panorama, check_assistant
from stages.panorama_work import PanoramaTask
from stages.products import fingerprints, product
from stages.splits import SplitPanorama
from stages.views import shared_views
from tests.stages.small_run import HEIGHT, RECIPE, WIDTH, small_run, write_panorama
from tests.teacher import tiny_promptable

ID = "panoramas/street"
PRODUCT_NAMES = [MASKS, ASSISTANT, ENSEMBLE]


def recipe_of(folder: Path, **tables: dict[str, object]) -> Recipe:
    (folder / "small.toml").write_text(RECIPE)
    return small_run(folder, **tables).recipe


def task_of(folder: Path, **tables: dict[str, object]) -> PanoramaTask:
    recipe = recipe_of(folder, **tables)
    panorama = SplitPanorama(ID, folder / "street.png")
    return PanoramaTask(panorama, recipe, folder / "store", fingerprints(recipe), device="cpu", threads=1)


def entry(task: PanoramaTask, name: str) -> tuple[str, str, str]:
    """Where the store has a product of the task's panorama."""
    return name, task.fingerprints[name], product(name).entry(digest(task.panorama.path), task.ignore_mask_sha256)


def read(task: PanoramaTask, name: str) -> dict[str, np.ndarray]:
    return dict(TeacherStore.open(task.store, "r").read(*entry(task, name)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cached panorama, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    write_panorama(folder / "street.png", seed=3)
    report = cache_panorama(task_of(folder))
    assert list(report.product_seconds) == ["masks", "assistant", "ensemble"]
    assert (report.id, report.failed, report.fatal) == (ID, None, None)
    assert report.seconds == sum(report.product_seconds.values()) > 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_what_is_done_is_not_computed_again(folder: Path) -> None:
    assert cache_panorama(task_of(folder)).product_seconds == {}


def test_a_changed_fusion_setting_computes_the_ensemble_alone(folder: Path) -> None:
    report = cache_panorama(task_of(folder, fusion={"theta": 0.9}))
    assert list(report.product_seconds) == ["ensemble"]


def test_changed_windows_compute_everything(folder: Path) -> None:
    assert list(cache_panorama(task_of(folder, windows={"stride_x": 32})).product_seconds) == PRODUCT_NAMES


def test_another_picture_of_the_name_is_computed(folder: Path) -> None:
    before = read(task_of(folder), ENSEMBLE)["ensemble_probabilities"]
    write_panorama(folder / "street.png", seed=4)
    assert len(cache_panorama(task_of(folder)).product_seconds) == 3
    assert (read(task_of(folder), ENSEMBLE)["ensemble_probabilities"] != before).any()


def test_prompts_of_the_assistant_add_masks_to_the_grids_which_stay(folder: Path) -> None:
    task = task_of(folder, sam={"prompt_things": True, "points_in_doubt": 5})
    report = cache_panorama(task)
    assert report.failed is None and list(report.product_seconds) == [PROMPTED_MASKS, ENSEMBLE]
    grid, all_of_them = read(task, MASKS), read(task, PROMPTED_MASKS)
    assert all_of_them.keys() == grid.keys()
    assert len(all_of_them["predicted_iou"]) > len(grid["predicted_iou"])
    before = read(task_of(folder), ENSEMBLE)
    assert any((array != before[name]).any() for name, array in read(task, ENSEMBLE).items())


def test_what_has_rotted_is_computed_again_and_is_as_it_was(folder: Path, finished: Path) -> None:
    task = task_of(folder)
    (chunk,) = task.store.glob("assistant/*/*/assistant_probabilities/c*")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    report = cache_panorama(task_of(folder, fusion={"theta": 0.9}))
    assert list(report.product_seconds) == ["assistant", "ensemble"]
    for name, array in read(task_of(finished), ASSISTANT).items():
        np.testing.assert_array_equal(read(task, ASSISTANT)[name], array, err_msg=name)


def test_mark_and_report_say_which_file_it_was(folder: Path) -> None:
    task = task_of(folder)
    said = TeacherStore.open(task.store, "r").provenance(*entry(task, ENSEMBLE))
    assert (said["source_height"], said["source_width"]) == (HEIGHT, WIDTH)
    assert said["source_sha256"] == digest(task.panorama.path)
    record = cache_panorama(task).record
    assert record is not None
    assert (record.path, record.sha256) == (str(task.panorama.path), said["source_sha256"])
    assert (record.size, record.modified_ns) == size_and_time(task.panorama.path)


@pytest.mark.parametrize(
    ("content", "says"), [(b"no picture", "street.png"), (None, "street.png")], ids=["broken", "missing"]
)
def test_a_picture_that_cannot_be_read_costs_itself_alone(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "street.png").write_bytes(content)
    report = cache_panorama(task_of(tmp_path))
    assert report.failed is not None and says in report.failed.error
    assert (report.fatal, report.product_seconds, report.failed.trace) == (None, {}, "")


def test_a_picture_of_which_nothing_is_seen_is_set_aside(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "street.png")
    report = cache_panorama(task_of(tmp_path, panorama={"find_constant_border": True}))
    assert report.failed is not None and report.failed.error.startswith("all pixels of ")
    assert "are ignored" in report.failed.error


def test_weights_that_cannot_be_had_end_the_run(folder: Path) -> None:
    task = task_of(folder)
    sam = replace(task.recipe.sam, model="vit_b", checkpoint=str(folder / "none.pth"))
    other = {**task.fingerprints, MASKS: "f" * 16}
    report = cache_panorama(replace(task, recipe=replace(task.recipe, sam=sam), fingerprints=other))
    assert isinstance(report.fatal, GoodSAMError)
    assert "none.pth" in str(report.fatal)
    assert report.failed is None


def test_an_error_that_nobody_foresaw_costs_one_panorama_and_leaves_its_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("stages.panorama_work.open_panorama", surprise)
    report = cache_panorama(task_of(folder, fusion={"theta": 0.9}))
    assert report.failed is not None and report.failed.error == "ZeroDivisionError: surprise"
    assert "in surprise" in report.failed.trace
    assert report.fatal is None


def test_threads_of_torch_are_as_many_afterwards_as_before(folder: Path) -> None:
    before = torch.get_num_threads()
    cache_panorama(replace(task_of(folder, fusion={"theta": 0.8}), threads=before + 1))
    assert torch.get_num_threads() == before


def changed(folder: Path, **tables: dict[str, object]) -> list[str]:
    """Products whose fingerprints other settings change."""
    before, after = fingerprints(recipe_of(folder)), fingerprints(recipe_of(folder, **tables))
    return [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    ("tables", "parts"),
    [
        ({"sam": {"points_per_batch": 3, "memory_gib": 1.0}, "distill": {"steps": 9}}, []),
        ({"fusion": {"theta": 0.6}}, ["ensemble"]),
        ({"panorama": {"find_constant_border": True}}, ["ensemble"]),
        ({"sam": {"points_per_side": 3}}, ["masks", "ensemble"]),
        ({"sam": {"kind": "stock"}}, ["masks", "ensemble"]),
        ({"assistant": {"whole_weight": 0.25}}, ["assistant", "ensemble"]),
        ({"windows": {"stride_x": 32}}, ["masks", "assistant", "ensemble"]),
        ({"panorama": {"vertical_fov": 120.0}}, ["masks", "assistant", "ensemble"]),
    ],
    ids=["speed and stage two", "fusion", "border", "SAM", "mask source", "assistant", "windows", "field of view"],
)
def test_settings_rename_the_parts_that_they_decide(
    tmp_path: Path, tables: dict[str, dict[str, object]], parts: list[str]
) -> None:
    assert changed(tmp_path, **tables) == parts


def test_the_stock_generators_masks_are_cached_by_its_name_in_the_settings(folder: Path, finished: Path) -> None:
    task = task_of(folder, sam={"kind": "stock"})
    assert list(cache_panorama(task).product_seconds) == ["masks", "ensemble"]
    stock, ours = read(task, MASKS), read(task_of(finished), MASKS)
    assert len(stock["predicted_iou"]) == len(ours["predicted_iou"]) > 0
    np.testing.assert_allclose(stock["predicted_iou"], ours["predicted_iou"], atol=1e-4)


def test_sams_encoder_looks_at_every_window_once_whoever_prompts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    embed = AutomaticMaskGenerator.embed

    def counted(self: AutomaticMaskGenerator, views: Sequence[ImageArray]) -> torch.Tensor:
        seen.append(len(views))
        return embed(self, views)

    monkeypatch.setattr(AutomaticMaskGenerator, "embed", counted)
    task = task_of(folder, sam={"prompt_things": True, "points_in_doubt": 5, "points_per_side": 3})
    assert PROMPTED_MASKS in cache_panorama(task).product_seconds
    assert sum(seen) == len(shared_views(task.recipe))


def test_masks_of_a_promptable_network_are_cached_and_named_by_its_content(folder: Path) -> None:
    def task(name: str) -> PanoramaTask:
        return task_of(folder, sam={"kind": "transformers", "name": str(folder / name)})

    tiny_promptable.save("sam2", folder / "one" / "network")
    shutil.copytree(folder / "one", folder / "moved")
    assert list(cache_panorama(task("one/network")).product_seconds) == ["masks", "ensemble"]
    assert len(read(task("one/network"), MASKS)["predicted_iou"]) > 0
    assert cache_panorama(task("moved/network")).product_seconds == {}
    tiny_promptable.save("edgetam", folder / "other" / "network")
    assert list(cache_panorama(task("other/network")).product_seconds) == ["masks", "ensemble"]


def test_the_content_of_an_ignore_mask_counts_and_not_its_name(tmp_path: Path) -> None:
    names: list[str] = []
    for name, value in (("a.png", 0), ("b.png", 0), ("c.png", 255)):
        Image.new("L", (WIDTH, HEIGHT), value).save(tmp_path / name)
        mask: dict[str, object] = {"ignore_mask": str(tmp_path / name)}
        names.append(fingerprints(recipe_of(tmp_path, panorama=mask))[ENSEMBLE])
    assert names[0] == names[1] != names[2]


def test_a_missing_ignore_mask_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png"):
        changed(tmp_path, panorama={"ignore_mask": str(tmp_path / "none.png")})


def test_the_embedded_assistant_passes_and_one_that_is_not_there_does_not(tmp_path: Path) -> None:
    task = task_of(tmp_path)
    check_assistant(task)
    missing = replace(task.recipe.assistant, kind="onnx", name=str(tmp_path / "none.onnx"))
    other = {**task.fingerprints, ASSISTANT: "f" * 16}
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        check_assistant(replace(task, recipe=replace(task.recipe, assistant=missing), fingerprints=other))


def test_the_width_that_views_are_cut_from_is_another_assistants_output(tmp_path: Path) -> None:
    shown: dict[str, object] = {"views_weight": 0.5}
    before = fingerprints(recipe_of(tmp_path, assistant=shown))
    after = fingerprints(recipe_of(tmp_path, assistant=shown, views={"source_width": 2 * WIDTH}))
    assert [name for name in before if before[name] != after[name]] == [ASSISTANT, ENSEMBLE]
    assert fingerprints(recipe_of(tmp_path)) == fingerprints(recipe_of(tmp_path, views={"source_width": 2 * WIDTH}))
