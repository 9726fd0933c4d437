"""What stage two and evaluation read of a run, from a store that the test has filled itself."""

from __future__ import annotations

import pickle
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cache import records
from pipeline.cache.failures import DamagedError
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.ensemble.compose import Fusion
from pipeline.errors import CacheError, InputError
from pipeline.panorama.windows import window_grid
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.rectification import AssistantPrediction
from stages.manifest import write_manifest
from stages.panorama_records import PanoramaRecords, record_of
from stages.products import product
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama
from tests.stages.small_run import HEIGHT, RECIPE, WIDTH, small_run

CLASSES = 13
PRINTS = {MASKS: "a" * 16, ASSISTANT: "b" * 16, ENSEMBLE: "c" * 16}
FIRST, SECOND = "panoramas/first", "panoramas/second"


def probabilities(label: int) -> np.ndarray:
    """Three quarters for one class everywhere."""
    values_CHW = np.full((CLASSES, HEIGHT, WIDTH), 0.25 / (CLASSES - 1), np.float32)
    values_CHW[label] = 0.75
    return values_CHW


def fill(run: Run, panorama: SplitPanorama, masks: list[MaskSet]) -> None:
    """Store a panorama of which windows say 1, the whole image 2 and the ensemble 3; rows mark the flags."""
    store = TeacherStore.open(run.store, "a")
    record = record_of(panorama.path, sha256(panorama.path.read_bytes()).hexdigest(), "", (0, 0))
    PanoramaRecords(run.panoramas).add(panorama.id, record)
    rows_HW = np.arange(HEIGHT)[:, None].repeat(WIDTH, axis=1)
    labels_hw = np.full((HEIGHT, HEIGHT), 1, np.uint8)
    view = AssistantPrediction(probabilities(1), probabilities(2), np.full((HEIGHT, WIDTH), 0.5, np.float32),
                         (labels_hw,) * len(masks), {1: np.ones((2, HEIGHT // 4, WIDTH // 4), np.float32)})  # fmt: skip
    fusion = Fusion(np.full((HEIGHT, WIDTH), 3, np.uint8), probabilities(3), rows_HW < 10)
    ensemble = records.pack_ensemble(fusion, rows_HW == 5, rows_HW >= 50)
    packed = {MASKS: records.pack_masks(masks), ASSISTANT: records.pack_assistant(view), ENSEMBLE: ensemble}
    for name, arrays in packed.items():
        store.write(name, PRINTS[name], record.entry(product(name)), arrays, {})


def windows_of(run: Run) -> int:
    return len(window_grid(HEIGHT, WIDTH, run.recipe.windows))


def no_masks() -> MaskSet:
    return MaskSet.from_dense(np.zeros((0, HEIGHT, HEIGHT), np.bool_))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose first panorama is in the cache and whose second is not."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "small.toml").write_text(RECIPE)
    run = small_run(tmp_path)
    for number, panorama in enumerate(panoramas(tmp_path)):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 50 + number, np.uint8)).save(panorama.path)
    fill(run, panoramas(tmp_path)[0], [no_masks()] * windows_of(run))
    write_manifest(run, PRINTS)
    return run


def panoramas(folder: Path) -> list[SplitPanorama]:
    return [SplitPanorama(name, folder / "photos" / f"{name.partition('/')[2]}.png") for name in (FIRST, SECOND)]


@pytest.fixture
def reader(run: Run, tmp_path: Path) -> RunReader:
    return RunReader.open(run, panoramas(tmp_path))


def test_only_cached_panoramas_are_read(reader: RunReader) -> None:
    assert reader.ids == (FIRST,)


def test_a_run_without_any_of_them_is_asked_to_cache_them_first(run: Run, reader: RunReader, tmp_path: Path) -> None:
    missing = panoramas(tmp_path)[1:]
    for ask in (lambda: RunReader.open(run, missing), lambda: reader.of(missing)):
        with pytest.raises(CacheError, match=r"none of 1 panorama .* Run `goodsam teacher-cache` first"):
            ask()


def test_a_run_without_a_cache_is_refused(run: Run, tmp_path: Path) -> None:
    run.manifest.unlink()
    with pytest.raises(CacheError, match="has no teacher cache"):
        RunReader.open(run, panoramas(tmp_path))


def test_a_cache_of_other_settings_is_not_read(run: Run, tmp_path: Path) -> None:
    other = replace(run.recipe, windows=replace(run.recipe.windows, stride_x=32))
    with pytest.raises(CacheError, match="made with other settings of windows"):
        RunReader.open(replace(run, recipe=other), panoramas(tmp_path))


def test_the_image_is_that_of_the_file(reader: RunReader) -> None:
    image_HW3 = reader.image(FIRST)
    assert image_HW3.shape == (HEIGHT, WIDTH, 3)
    assert (image_HW3 == 50).all()


def test_an_image_that_has_changed_since_is_refused_and_one_that_is_gone_too(reader: RunReader) -> None:
    path = reader.paths[FIRST]
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 99, np.uint8)).save(path)
    with pytest.raises(CacheError, match=r"first\.png has changed since it was cached"):
        reader.image(FIRST)
    path.unlink()
    with pytest.raises(InputError, match=r"first\.png"):
        reader.image(FIRST)


def test_each_rung_of_the_ladder_gets_its_own_array(reader: RunReader) -> None:
    teacher = reader.teacher(FIRST)
    np.testing.assert_allclose(teacher.assistant_CHW, probabilities(1), atol=0.01)
    np.testing.assert_allclose(teacher.whole_CHW, probabilities(2), atol=0.01)
    np.testing.assert_allclose(teacher.agreement_HW, 0.5, atol=1 / 509)
    assert (teacher.ensemble_HW == 3).all()
    assert teacher.reliable_HW.dtype == teacher.ignored_HW.dtype == np.bool_
    assert teacher.reliable_HW[:, 0].nonzero()[0].tolist() == list(range(10))
    assert teacher.ignored_HW[:, 0].nonzero()[0].tolist() == list(range(50, HEIGHT))


def test_a_damaged_panorama_is_reported(reader: RunReader) -> None:
    for chunk in reader.store.path.glob("ensemble/*/*/ensemble_labels/c*"):
        chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        reader.teacher(FIRST)


def test_small_masks_lie_on_large_ones_and_wrap_over_the_seam(run: Run, tmp_path: Path) -> None:
    recipe = replace(run.recipe, windows=replace(run.recipe.windows, stride_x=32))
    windows = window_grid(HEIGHT, WIDTH, recipe.windows)
    over_seam = next(k for k, window in enumerate(windows) if window.column + window.width > WIDTH)
    small, large = np.zeros((2, HEIGHT, HEIGHT), np.bool_)
    small[10:12, :] = True  # across the whole window, so beyond the panorama's right end
    large[5:20, 4:] = True
    masks = [no_masks()] * len(windows)
    masks[over_seam] = MaskSet.from_dense(np.stack([small, large]))
    fill(run, panoramas(tmp_path)[0], masks)
    map_HW = replace(RunReader.open(run, panoramas(tmp_path)), recipe=recipe).mask_map(FIRST)

    expected_HW = np.full((HEIGHT, WIDTH), -1)
    columns = np.arange(windows[over_seam].column, windows[over_seam].column + HEIGHT) % WIDTH
    for number, mask in ((0, large), (1, small)):
        for y, x in zip(*mask.nonzero(), strict=True):
            expected_HW[y, columns[x]] = number
    assert {-1, 0, 1} == set(expected_HW[:, 0]) | set(expected_HW[:, -1])  # there is something on either side
    np.testing.assert_array_equal(map_HW, expected_HW)


def test_without_masks_the_map_is_empty(reader: RunReader) -> None:
    assert (reader.mask_map(FIRST) == -1).all()


def test_content_is_named_by_panoramas_and_their_files(run: Run, reader: RunReader, tmp_path: Path) -> None:
    before = reader.content_fingerprint()
    assert RunReader.open(run, panoramas(tmp_path)).content_fingerprint() == before
    second = panoramas(tmp_path)[1]
    fill(run, second, [no_masks()] * windows_of(run))
    both = RunReader.open(run, panoramas(tmp_path)).content_fingerprint()
    assert both != before
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(second.path)
    fill(run, second, [no_masks()] * windows_of(run))
    assert RunReader.open(run, panoramas(tmp_path)).content_fingerprint() not in (before, both)


@pytest.mark.parametrize(("weight", "levels"), [(0.0, []), (0.5, [1])])
def test_a_sample_has_the_features_only_where_a_loss_wants_them(
    run: Run, tmp_path: Path, weight: float, levels: list[int]
) -> None:
    recipe = replace(run.recipe, losses=replace(run.recipe.losses, features=weight),
                     assistant=replace(run.recipe.assistant, feature_levels=(1,)))  # fmt: skip
    reader = replace(RunReader.open(run, panoramas(tmp_path)), recipe=recipe)
    sample = reader.sample_reader(FIRST)
    assert sorted(sample.features) == levels
    assert (sample.image_HW3 == 50).all()


def test_a_reader_goes_to_other_processes(reader: RunReader) -> None:
    again: RunReader = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(again.teacher(FIRST).ensemble_HW, reader.teacher(FIRST).ensemble_HW)
