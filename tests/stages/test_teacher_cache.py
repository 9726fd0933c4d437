"""Stage one as a program: resuming, going parallel, and never reading what is stale."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from pipeline.cache.records import unpack_masks
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.classes import IGNORE
from pipeline.errors import CacheError, DeviceError, InputError, WeightsError, WorkerError
from pipeline.panorama.config import PanoramaConfig
from pipeline.recipe import Recipe
from pipeline.teacher.identity import DEMO_FOLDER, DEMO_WEIGHTS
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import SamMaskGenerator
from stages import networks, panorama_task, panorama_work, products
from stages.claims import exclusive_lock
from stages.events import Event, ItemFailed, Note, StageAdvanced, StageStarted, silent
from stages.files import digest
from stages.manifest import read_manifest
from stages.panorama_task import StageOneReport
from stages.panorama_work import PanoramaTask, PanoramaWork
from stages.products import Product, fingerprints
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.teacher_cache import panoramas_at_once, teacher_cache
from stages.verify import verify
from stages.views import sam_views
from tests.fake_cuda import NAME as GPU_NAME
from tests.fake_cuda import FakeCuda
from tests.stages.small_run import (
    WIDTH,
    arrays_of,
    discard,
    entry_of,
    make_folders,
    read_product,
    small_run,
    write_panorama,
)

ROOT = Path(__file__).resolve().parents[2]
TWO: dict[str, object] = {"limit": 1}
"""Two panoramas, one of each split: enough for what is the same for each."""


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


AllArrays = dict[tuple[str, str, str], npt.NDArray[Any]]


def assert_equal(run: Run, expected: AllArrays) -> None:
    found = arrays_of(run)
    assert found.keys() == expected.keys()
    assert len({key[1] for key in found}) == 4
    for key, array in found.items():
        np.testing.assert_array_equal(array, expected[key], err_msg=str(key))


def to_do(run: Run) -> int:
    """Panoramas that a run of the stage works on."""
    events: list[Event] = []
    teacher_cache(run, events.append)
    return next(event.total for event in events if isinstance(event, StageStarted))


@pytest.mark.slow
def test_every_panorama_gets_masks_assistant_and_ensemble(finished_arrays: AllArrays) -> None:
    arrays = finished_arrays
    assert {name for part, _, name in arrays if part == "ensemble"} == {
        "ensemble_labels", "ensemble_probabilities", "reliability", "boundary", "ignored"}  # fmt: skip
    assert arrays["ensemble", "panoramas/0", "ensemble_probabilities"].shape == (13, 64, 128)
    assert arrays["assistant", "panoramas/0", "features_1"].shape[1:] == (16, 32)
    assert len(arrays["masks", "panoramas/0", "run_counts"]) > 0


def test_a_finished_run_has_nothing_to_do(folder: Path) -> None:
    assert to_do(small_run(folder)) == 0


def test_a_resumed_run_does_only_the_missing_panoramas(folder: Path, finished_arrays: AllArrays) -> None:
    run = small_run(folder)
    discard(run, ENSEMBLE, "panoramas/1")
    assert to_do(run) == 1
    assert_equal(run, finished_arrays)


def test_a_changed_fusion_setting_computes_the_ensemble_alone(folder: Path) -> None:
    before = read_manifest(small_run(folder))
    run = small_run(folder, fusion={"theta": 0.9})
    summary = teacher_cache(run, silent)
    after = read_manifest(run)
    assert [name for name in after if after[name] != before[name]] == [ENSEMBLE]
    assert summary.products == {"ensemble": 4}


def test_the_student_can_be_kept_from_unknown_objects(folder: Path) -> None:
    everything = {"min_predicted_iou": 0.0, "min_entropy": 0.0, "max_stuff": 1.0, "max_size": 1.0}
    run = small_run(folder, unknown={**everything, "ignored_by_student": True})
    assert teacher_cache(run, silent).products == {"ensemble": 4}
    reader = RunReader.open(run, learning_panoramas(run.recipe))
    found = {id_: reader.unknown(id_).numbers_HW > 0 for id_ in reader.ids}
    assert any(unknown_HW.any() for unknown_HW in found.values())
    for id_, unknown_HW in found.items():
        ignored_HW = reader.read("ensemble", id_, ["ignored"])["ignored"].astype(bool)
        np.testing.assert_array_equal(reader.sample_reader(id_).ignored_HW, ignored_HW | unknown_HW)


def test_a_changed_prompt_grid_keeps_the_assistant_and_never_reads_old_masks(folder: Path) -> None:
    before = read_manifest(small_run(folder))
    run = small_run(folder, sam={"points_per_side": 1}, data=TWO)
    assert teacher_cache(run, silent).products == {"masks": 2, "ensemble": 2}
    after = read_manifest(run)
    assert [name for name in after if after[name] != before[name]] == [MASKS, ENSEMBLE]


def test_batching_of_prompts_is_no_other_result(folder: Path) -> None:
    assert to_do(small_run(folder, sam={"points_per_batch": 1})) == 0


def test_the_memory_of_a_gpu_is_no_other_result(folder: Path) -> None:
    assert to_do(small_run(folder, sam={"memory_gib": 3.0})) == 0


def test_a_changed_picture_is_done_again(folder: Path) -> None:
    write_panorama(folder / "photos" / "1.png", 77)
    assert to_do(small_run(folder)) == 1


def test_a_finished_run_reads_no_picture_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(folder)
    to_do(run)  # the folder is a copy: its pictures are read once
    read: list[Path] = []
    monkeypatch.setattr("stages.missing.digest", read.append)
    assert to_do(run) == 0
    assert read == []


@pytest.mark.parametrize(
    "damage", ["a lost chunk", "a shortened chunk", "a changed mark", "a lost mark", "a lost index"]
)
def test_a_second_rerun_sees_what_the_first_saw(folder: Path, damage: str) -> None:
    """The first rerun leaves an index of the done marks; it hides nothing from the next."""
    run = small_run(folder)
    assert to_do(run) == 0
    age_indexes(run)
    panorama = entry_of(run, ASSISTANT, "panoramas/1")
    chunk = next(panorama.glob("agreement/c*"))
    if damage == "a lost chunk":
        chunk.unlink()
    elif damage == "a shortened chunk":
        chunk.write_bytes(chunk.read_bytes()[:-1])
    elif damage == "a changed mark":
        mark = panorama / "zarr.json"
        before = mark.stat()
        mark.write_text(mark.read_text().replace("1.png", "2.png"))
        os.utime(mark, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "a lost mark":
        (panorama / "zarr.json").unlink()
    else:
        shutil.rmtree(indexes(run))
    assert to_do(run) == (0 if damage == "a lost index" else 1)
    assert to_do(run) == 0


def test_a_rerun_after_the_first_parses_no_mark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(folder)
    assert to_do(run) == 0
    age_indexes(run)
    monkeypatch.setattr("pipeline.cache.store.mark_if_complete", None)
    assert to_do(run) == 0


def indexes(run: Run) -> Path:
    return run.cache / "teacher.zarr.index"


def age_indexes(run: Run) -> None:
    """Make the indexes a minute younger than the marks: a mark as young as its index is parsed anew."""
    for file in indexes(run).rglob("*.json"):
        os.utime(file, (time.time() + 60, time.time() + 60))


def test_a_picture_that_was_copied_is_read_once_and_not_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = folder / "photos" / "1.png"
    to_do(small_run(folder))  # the folder is a copy: its pictures are read once
    picture.write_bytes(picture.read_bytes())
    read = pictures_read(monkeypatch)
    for _ in range(2):
        assert to_do(small_run(folder)) == 0
        assert read == [picture]


def pictures_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Pictures that are read from now on to see whether they are the same."""
    read: list[Path] = []

    def heard(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr("stages.missing.digest", heard)
    return read


def test_a_lost_record_of_the_panoramas_costs_reading_them_once(
    folder: Path, finished_arrays: AllArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run(folder)
    run.panoramas.unlink()
    read = pictures_read(monkeypatch)
    for _ in range(2):
        assert to_do(run) == 0
        assert len(read) == len(set(read)) == 4
    assert_equal(run, finished_arrays)


def test_renamed_and_moved_pictures_are_known_by_their_content(folder: Path, finished_arrays: AllArrays) -> None:
    (folder / "photos").rename(folder / "pictures")
    (folder / "pictures" / "1.png").rename(folder / "pictures" / "renamed.png")
    run = small_run(folder, data={"panoramas": str(folder / "pictures")})
    assert to_do(run) == 0
    moved, before = arrays_of(run), finished_arrays
    assert all((moved[product, "panoramas/renamed", name] == array).all()
               for (product, panorama_id, name), array in before.items() if panorama_id == "panoramas/1")  # fmt: skip


def test_runs_of_other_names_and_folders_share_what_they_have_in_common(folder: Path) -> None:
    shutil.copytree(folder / "photos", folder / "copies")
    run = small_run(folder, data={"panoramas": str(folder / "copies")}, fusion={"theta": 0.9})
    other = Run(run.recipe, run.cache / "other")
    assert teacher_cache(other, silent).products == {"ensemble": 4}
    assert teacher_cache(small_run(folder), silent).products == {}
    assert read_manifest(other)[MASKS] == read_manifest(small_run(folder))[MASKS]


def test_a_further_product_is_one_declaration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the project knows it; it is computed, stored, described, found done, and verified."""

    def shares(work: PanoramaWork) -> dict[str, npt.NDArray[Any]]:
        labels_HW = work.read(ENSEMBLE, ["ensemble_labels"])["ensemble_labels"]
        return {"pixels": np.bincount(labels_HW.ravel(), minlength=256)}

    declaration = Product("shares", 1, lambda recipe: {"classes": recipe.classes.names}, shares, inputs=(ENSEMBLE,))
    monkeypatch.setattr(products, "PRODUCTS", (*products.PRODUCTS, declaration))
    run = small_run(folder)
    with pytest.raises(CacheError, match="Run `goodsam teacher-cache` again"):
        read_manifest(run)
    assert teacher_cache(run, silent).products == {"shares": 4}
    assert read_product(run, "shares", "panoramas/1")["pixels"].sum() == WIDTH * WIDTH // 2
    assert to_do(run) == 0
    assert verify(run) == []
    assert teacher_cache(small_run(folder, fusion={"theta": 0.9}), silent).products == {"ensemble": 4, "shares": 4}


class Halves:
    """A mask source of a test's own: two masks of each image, its upper and its lower half."""

    identity, notes = "halves", ("Halves are no objects",)

    def many(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        upper = [np.arange(len(image))[:, None] < len(image) // 2 for image in images]
        return [
            MaskSet.from_dense(np.stack([half, ~half]) & np.ones(image.shape[:2], np.bool_))
            for half, image in zip(upper, images, strict=True)
        ]


def test_a_further_mask_source_is_one_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the project knows it; its masks are stored and vote."""
    monkeypatch.setattr(networks, "mask_source", lambda *_: Halves())
    run = small_run(folder, sam={"points_per_side": 3})
    events: list[Event] = []
    assert teacher_cache(run, events.append).products == {"masks": 4, "ensemble": 4}
    assert any("Halves are no objects" in event.text for event in events if isinstance(event, Note))
    views = sam_views(run.recipe)
    for masks in unpack_masks(read_product(run, MASKS, "panoramas/0"), views):
        np.testing.assert_array_equal(masks.dense()[:, :, 0], np.arange(64) // 32 == [[0], [1]])


def test_a_picture_that_changed_in_size_is_reported_though_its_time_is_the_old(folder: Path) -> None:
    picture = folder / "photos" / "1.png"
    before = picture.stat()
    picture.write_bytes(picture.read_bytes() + b"more")
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert to_do(small_run(folder)) == 1


def test_a_damaged_part_is_done_again(folder: Path, finished_arrays: AllArrays) -> None:
    run = small_run(folder)
    chunk = next(entry_of(run, MASKS, "panoramas/0").glob("runs/c*"))
    discard(run, ENSEMBLE, "panoramas/0")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(content)
    teacher_cache(run, silent)
    assert_equal(run, finished_arrays)


@pytest.mark.slow
def test_worker_processes_give_the_same_cache(finished_arrays: AllArrays, tmp_path: Path) -> None:
    make_folders(tmp_path)
    teacher_cache(small_run(tmp_path), silent, workers=2)
    assert_equal(small_run(tmp_path), finished_arrays)


@pytest.fixture
def two_at_once(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Two panoramas at a time as on a GPU; returns the thread and the torch threads of every task, when they came."""
    seen: list[tuple[str, int]] = []
    open_work = panorama_work.open_work

    def watched(task: PanoramaTask, *others: Any) -> Any:
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        return open_work(task, *others)

    monkeypatch.setattr("stages.teacher_cache.panoramas_at_once", lambda _: 2)
    monkeypatch.setattr(panorama_task, "open_work", watched)
    return seen


@pytest.mark.slow
def test_two_panoramas_at_once_give_the_same_cache_and_the_same_events(
    finished_arrays: AllArrays, tmp_path: Path, two_at_once: list[tuple[str, int]]
) -> None:
    make_folders(tmp_path)
    before, events = torch.get_num_threads(), list[Event]()
    summary = teacher_cache(small_run(tmp_path), events.append)
    assert_equal(small_run(tmp_path), finished_arrays)
    assert summary.computed == 4
    advanced = [event for event in events if isinstance(event, StageAdvanced)]
    assert [event.done for event in advanced] == [1, 2, 3, 4]
    assert sorted(event.item for event in advanced) == ["evaluation/9", *(f"panoramas/{seed}" for seed in (0, 1, 2))]
    assert len({name for name, _ in two_at_once}) == 2
    assert {threads for _, threads in two_at_once} == {1}
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:  # what torch gives threads that never asked
        assert pool.submit(torch.get_num_threads).result() == before


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A pretended GPU, which knows one thread only; networks do not stay on it."""
    monkeypatch.setattr("stages.teacher_cache.panoramas_at_once", lambda _: 1)
    with FakeCuda() as pretended:
        yield pretended
    for network in (networks.mask_source, networks.assistant):
        network.forget()


@pytest.mark.slow
def test_on_a_gpu_the_cache_is_the_same(finished_arrays: AllArrays, tmp_path: Path, gpu: FakeCuda) -> None:
    make_folders(tmp_path)
    events: list[Event] = []
    teacher_cache(small_run(tmp_path), events.append, device="cuda")
    assert gpu.waits
    assert events[0] == Note("teacher-cache", f"on cuda:0, {GPU_NAME}")
    ours, expected = arrays_of(small_run(tmp_path)), finished_arrays
    assert ours.keys() == expected.keys()
    for key, array in ours.items():  # larger batches of prompts round another way, and so does another attention
        is_stored_as_byte = key[2].endswith("_probabilities") or key[2].startswith("features_")
        rounding = 1e-5 if array.dtype.kind == "f" else 1 if is_stored_as_byte else 0
        np.testing.assert_allclose(array, expected[key], rtol=0, atol=rounding, err_msg=str(key))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "memory_gib", "each"), [(1, 0.0, 0.0), (2, 0.0, 4.0), (99, 0.0, 2.0), (1, 6.0, 6.0), (3, 6.0, 2.0)]
)
def test_workers_on_a_gpu_share_its_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gpu: FakeCuda, workers: int, memory_gib: float, each: float
) -> None:
    """It has 16 GiB, of which SAM may use half unless told otherwise; there are four panoramas."""
    given: list[float] = []

    def run_tasks(_: Any, groups: list[list[PanoramaTask]], *__: Any) -> Iterator[list[StageOneReport]]:
        given.extend(task.recipe.sam.memory_gib for tasks in groups for task in tasks)
        yield from ([StageOneReport(task.panorama.id) for task in tasks] for tasks in groups)

    monkeypatch.setattr("stages.teacher_cache.run_tasks", run_tasks)
    events: list[Event] = []
    run = small_run(folder, fusion={"theta": 0.8}, sam={"memory_gib": memory_gib})
    teacher_cache(run, events.append, workers=workers, device="cuda")
    assert given == [each] * 4
    assert events[0] == Note("teacher-cache", f"on cuda:0, {GPU_NAME}, {min(workers, 4)} workers")


def test_only_a_gpu_gets_two_panoramas_at_once() -> None:
    assert (panoramas_at_once("cpu"), panoramas_at_once("cuda"), panoramas_at_once("cuda:1")) == (1, 2, 2)


def test_a_broken_picture_is_set_aside_and_a_full_disk_stops_two_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, two_at_once: list[tuple[str, int]]
) -> None:
    (folder / "photos" / "text.png").write_text("no picture")
    summary = teacher_cache(small_run(folder, fusion={"theta": 0.8}), silent)
    assert list(summary.failed) == ["panoramas/text"]
    assert summary.products == {"ensemble": 4}

    def full(*_: Any) -> None:
        raise CacheError("the disk is full", "there must be room", "Free some")

    monkeypatch.setattr(panorama_task, "open_work", full)
    with pytest.raises(CacheError, match="the disk is full"):
        teacher_cache(small_run(folder, fusion={"theta": 0.6}), silent)
    assert not any(thread.name.startswith("task") for thread in threading.enumerate())


def test_a_slower_way_is_reported_once_however_many_tasks_say_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are pickled here as workers send them."""
    work = panorama_task.cache_panorama

    def in_another_process(task: PanoramaTask) -> StageOneReport:
        source = networks.mask_source(task.recipe.sam, task.device, task.fingerprints[MASKS])
        assert isinstance(source, SamMaskGenerator)
        decoder = source.generator.decoder
        decoder.fallback_reason = "a test wants it"  # type: ignore[misc]
        return pickle.loads(pickle.dumps(work(task)))

    monkeypatch.setattr(panorama_task, "cache_panorama", in_another_process)
    events: list[Event] = []
    try:
        summary = teacher_cache(small_run(folder, sam={"points_per_side": 1}, data=TWO), events.append)
    finally:
        networks.mask_source.forget()
    assert summary.computed == 2
    notes = notes_but_of_windows(events)
    assert notes == [
        "on the CPU, 1 thread",
        "SAM's mask decoder uses the slower standard implementation (a test wants it)",
    ]


def test_weights_that_sam_has_no_place_for_are_reported_once(folder: Path) -> None:
    more = {"mask_decoder.hf_token.weight": torch.zeros(1)}
    torch.save(torch.load(DEMO_WEIGHTS, weights_only=True) | more, folder / "hq.pth")
    events: list[Event] = []
    sam: dict[str, object] = {"points_per_side": 1, "checkpoint": str(folder / "hq.pth")}
    assert teacher_cache(small_run(folder, sam=sam, data=TWO), events.append).computed == 2
    _, note = notes_but_of_windows(events)
    assert "ignored, as SAM has no such weights: mask_decoder.hf_token.weight" in note


def test_of_the_demo_sam_only_the_device_is_reported(folder: Path) -> None:
    events: list[Event] = []
    assert teacher_cache(small_run(folder, sam={"points_per_side": 1}, data=TWO), events.append).computed == 2
    assert notes_but_of_windows(events) == ["on the CPU, 1 thread"]


def notes_but_of_windows(events: list[Event]) -> list[str]:
    """The windows of the small run do not overlap, which is told."""
    notes = [event.text for event in events if isinstance(event, Note)]
    others = [note for note in notes if "do not overlap (windows.stride_x is 64" not in note]
    assert len(others) == len(notes) - 1
    return others


def begun(folder: Path, part: str, *options: str, **how: Any) -> subprocess.Popen[str]:
    """The command of the stage, at work in `folder`, which has stored the part of one panorama at least."""
    make_folders(folder)
    command = [sys.executable, "-m", "stages.cli", "teacher-cache", str(folder / "small.toml"), *options]
    process = subprocess.Popen([*command, "--cache", str(folder / "cache")], cwd=ROOT, text=True, **how)
    stored, deadline = small_run(folder).store / part, time.monotonic() + 240
    while not any(stored.glob("*/*/zarr.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_gone_on_with_gives_the_same_cache(
    finished_arrays: AllArrays, tmp_path: Path
) -> None:
    process = begun(tmp_path, ENSEMBLE, stderr=subprocess.DEVNULL)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = small_run(tmp_path)
    assert 0 < len({p.parent.name for p in (run.store / "ensemble").glob("*/*/zarr.json")}) < 4
    assert 0 < to_do(run) < 4
    assert_equal(run, finished_arrays)


def hear_interrupts() -> None:
    """Programs that a shell runs in the background ignore them, and so do the programs that these start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_ends_workers_without_a_traceback_and_the_run_goes_on(
    finished_arrays: AllArrays, tmp_path: Path
) -> None:
    process = begun(tmp_path, MASKS, "--workers", "2", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    start_new_session=True, preexec_fn=hear_interrupts)  # fmt: skip
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "interrupted; what was done is kept" in said
    assert "Traceback" not in said
    assert "Warning" not in said
    run = small_run(tmp_path)
    to_do(run)
    assert_equal(run, finished_arrays)


def test_weights_of_the_wrong_kind_stop_the_run_and_are_reported_once(folder: Path) -> None:
    (folder / "sam.pth").write_bytes(b"no weights")
    events: list[Event] = []
    with pytest.raises(WeightsError, match=r"sam\.pth is not a checkpoint"):
        teacher_cache(small_run(folder, sam={"checkpoint": str(folder / "sam.pth")}), events.append)
    assert not any(isinstance(event, (ItemFailed, StageAdvanced)) for event in events)


def test_a_wrong_ignore_mask_is_reported_before_anything_is_computed(folder: Path) -> None:
    Image.new("L", (WIDTH, WIDTH)).save(folder / "mask.png")
    events: list[Event] = []
    with pytest.raises(InputError, match=f"ignore mask mask.png is {WIDTH}x{WIDTH}"):
        teacher_cache(small_run(folder, panorama={"ignore_mask": str(folder / "mask.png")}), events.append)
    assert not events


def test_what_a_mask_ignores_is_reported(folder: Path) -> None:
    Image.new("L", (WIDTH, WIDTH // 2), 255).save(folder / "mask.png")
    events: list[Event] = []
    with pytest.raises(InputError, match="none of"):
        teacher_cache(small_run(folder, panorama={"ignore_mask": str(folder / "mask.png")}), events.append)
    assert Note("teacher-cache", "mask.png ignores 100.0 % of every panorama (where it is not black)") in events


def write_mask(path: Path, rows: int) -> None:
    """A mask that ignores the lowest rows."""
    mask_HW = np.zeros((WIDTH // 2, WIDTH), np.uint8)
    mask_HW[len(mask_HW) - rows :] = 255
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(mask_HW).save(path)


def ignored_rows(run: Run) -> dict[str, int]:
    """Rows without a label to learn from, of each panorama."""
    arrays = arrays_of(run)
    ignored = {key[1]: array.astype(bool) for key, array in arrays.items() if key[2] == "ignored"}
    for id_, ignored_HW in ignored.items():
        assert (arrays["ensemble", id_, "ensemble_labels"][ignored_HW] == IGNORE).all()
    return {id_: int(ignored_HW.all(axis=1).sum()) for id_, ignored_HW in ignored.items()}


def test_a_folder_of_masks_has_one_per_camera_and_a_changed_one_computes_its_panoramas_alone(folder: Path) -> None:
    rigs = folder / "rigs"
    write_mask(rigs / "1.png", 4)
    write_mask(rigs / "held_out.png", 8)
    run = small_run(folder, panorama={"ignore_mask": str(rigs)})
    events: list[Event] = []
    assert teacher_cache(run, events.append).products == {"ensemble": 4}
    counts = "rigs: ignore masks for 2 of 4 panoramas: 1 by their name, 1 by their folder, 0 by their size"
    assert Note("teacher-cache", counts) in events
    assert ignored_rows(run) == {"panoramas/0": 0, "panoramas/1": 4, "panoramas/2": 0, "evaluation/9": 8}
    assert to_do(run) == 0
    before = RunReader.open(run, learning_panoramas(run.recipe)).content_fingerprint()
    write_mask(rigs / "1.png", 16)
    with pytest.raises(CacheError, match=r"other content of panorama\.ignore_mask"):
        read_manifest(run)
    assert teacher_cache(run, silent).products == {"ensemble": 1}
    assert ignored_rows(run)["panoramas/1"] == 16
    assert RunReader.open(run, learning_panoramas(run.recipe)).content_fingerprint() != before
    write_mask(rigs / "2.png", 1)
    (rigs / "1.png").unlink()
    assert teacher_cache(run, silent).products == {"ensemble": 2}
    assert ignored_rows(run) == {"panoramas/0": 0, "panoramas/1": 0, "panoramas/2": 1, "evaluation/9": 8}


def test_a_stopped_run_leaves_no_ensemble_of_another_mask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of the run is written at once, for those panoramas that need nothing."""
    rigs = folder / "rigs"
    write_mask(rigs / "1.png", 4)
    run = small_run(folder, panorama={"ignore_mask": str(rigs)})
    teacher_cache(run, silent)
    write_mask(rigs / "1.png", 16)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.teacher.vote.fuse", stopped)
    with pytest.raises(KeyboardInterrupt):
        teacher_cache(run, silent)
    assert RunReader.open(run, learning_panoramas(run.recipe)).ids == ("panoramas/0", "panoramas/2")


def test_a_mask_that_changes_while_the_run_lasts_sets_its_panorama_aside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mask(folder / "rigs" / "1.png", 4)
    check = panorama_task.check_assistant

    def changed_meanwhile(task: PanoramaTask, name: str) -> None:
        write_mask(folder / "rigs" / "1.png", 5)
        check(task, name)

    monkeypatch.setattr(panorama_task, "check_assistant", changed_meanwhile)
    summary = teacher_cache(small_run(folder, panorama={"ignore_mask": str(folder / "rigs")}), silent)
    assert list(summary.failed) == ["panoramas/1"]
    assert "is not the one that this run began with" in summary.failed["panoramas/1"]


def test_masks_are_chosen_as_without_a_limit(folder: Path) -> None:
    """The mask of a panorama beyond it is not one for all of its size."""
    write_mask(folder / "rigs" / "0.png", 2)
    write_mask(folder / "rigs" / "2.png", 4)
    run = small_run(folder, panorama={"ignore_mask": str(folder / "rigs")}, data={"limit": 1})
    teacher_cache(run, silent)
    assert ignored_rows(run) == {"panoramas/0": 2, "evaluation/9": 0}


def test_broken_pictures_are_set_aside_and_the_rest_is_done(folder: Path) -> None:
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    (folder / "photos" / "text.png").write_text("no picture")
    events: list[Event] = []
    summary = teacher_cache(small_run(folder), events.append)
    assert sorted(summary.failed) == ["panoramas/empty", "panoramas/text"]
    assert all("jpg" in reason or "png" in reason for reason in summary.failed.values())
    assert sum(isinstance(event, ItemFailed) for event in events) == 2


def test_what_a_folder_holds_besides_is_reported_once_and_costs_only_itself(folder: Path) -> None:
    photos = folder / "photos"
    usable = len([*photos.iterdir(), *(folder / "held_out").iterdir()])
    for name in ("twin.jpg", "twin.png", "film.mp4"):
        (photos / name).write_bytes(b"x")
    write_panorama(photos / "truth" / "label.png", 0)
    events: list[Event] = []
    summary = teacher_cache(small_run(folder, data={"panoramas": str(photos), "labels": str(photos / "truth")}),
                            events.append)  # fmt: skip
    assert summary.total == usable + 2  # each is computed, kept or set aside
    failed = [event.item for event in events if isinstance(event, ItemFailed)]
    assert failed == list(summary.failed) == ["panoramas/twin.jpg", "panoramas/twin.png"]
    assert sum(isinstance(event, Note) and "left out: 1 .mp4" in event.text for event in events) == 1


def test_what_another_process_has_done_meanwhile_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of a run that was stopped go on on a cluster, and may be at a panorama of the next run."""
    run = small_run(folder, fusion={"theta": 0.8})
    declared, write, written = products.product(ENSEMBLE), TeacherStore.write, list[str]()

    def after_another(work: PanoramaWork) -> dict[str, npt.NDArray[Any]]:
        with monkeypatch.context() as patch:
            patch.setattr(products, "PRODUCTS", others)
            panorama_task.cache_panorama(work.task)
        return declared.compute(work)

    def counted(store: TeacherStore, *arguments: Any) -> None:
        written.append(arguments[2])
        write(store, *arguments)

    others = products.PRODUCTS
    slow = dataclasses.replace(declared, compute=after_another)
    monkeypatch.setattr(products, "PRODUCTS", (*others[:-1], slow))
    monkeypatch.setattr(TeacherStore, "write", counted)
    assert teacher_cache(run, silent).computed == 4
    assert len(written) == 4


def test_products_are_named_by_the_working_height(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that makes it of the width may change; masks of another height must not be read then."""
    recipe = small_run(folder).recipe
    before = fingerprints(recipe)
    monkeypatch.setattr(PanoramaConfig, "height", recipe.panorama.height + 4)
    after = fingerprints(recipe)
    assert all(after[name] != before[name] for name in before)


def test_a_device_that_fails_ends_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    write_panorama(folder / "photos" / "new.png", 55)
    monkeypatch.setattr("pipeline.teacher.rectification.stitch_assistant", fails)
    events: list[Event] = []
    with pytest.raises(DeviceError, match=r"device has failed .*driver"):
        teacher_cache(small_run(folder), events.append)
    assert not any(isinstance(event, ItemFailed) for event in events)


def test_a_black_picture_is_set_aside(folder: Path) -> None:
    Image.new("RGB", (WIDTH, WIDTH // 2)).save(folder / "photos" / "black.png")
    summary = teacher_cache(small_run(folder, panorama={"find_constant_border": True}), silent)
    assert list(summary.failed) == ["panoramas/black"]
    assert "are ignored" in summary.failed["panoramas/black"]


def test_an_unusable_assistant_is_reported_before_sam_has_worked(folder: Path) -> None:
    write_panorama(folder / "photos" / "new.png", 55)
    events: list[Event] = []
    other: dict[str, object] = {"kind": "transformers", "name": str(DEMO_FOLDER), "label_set": "cityscapes19"}
    with pytest.raises(WeightsError, match="predicts 13 classes"):
        teacher_cache(small_run(folder, assistant=other), events.append)
    assert not events


@pytest.mark.parametrize(
    ("table", "key", "file"),
    [("panorama", "ignore_mask", "mask.png"), ("sam", "checkpoint", "sam.pth"), ("assistant", "name", "net.onnx")],
)
def test_a_run_that_is_refused_leaves_the_record_of_the_last_one(folder: Path, table: str, key: str, file: str) -> None:
    run = small_run(folder)
    before = (run.folder / "recipe.toml").read_text()
    Image.new("L", (WIDTH, WIDTH)).save(folder / "mask.png")
    (folder / "sam.pth").write_bytes(b"no weights")
    (folder / "net.onnx").write_bytes(b"no network")
    settings: dict[str, object] = {key: str(folder / file), **({"kind": "onnx"} if table == "assistant" else {})}
    with pytest.raises((InputError, WeightsError)):
        teacher_cache(small_run(folder, **{table: settings}), silent)
    assert (run.folder / "recipe.toml").read_text() == before
    assert read_manifest(run)


def test_settings_of_before_are_taken_up_again_though_a_picture_is_broken(folder: Path) -> None:
    (folder / "photos" / "empty.jpg").write_bytes(b"")
    for theta in (0.7, 0.6, 0.7):
        run = small_run(folder, fusion={"theta": theta})
        assert teacher_cache(run, silent).failed.keys() == {"panoramas/empty"}
        assert read_manifest(run)


def test_a_folder_of_nothing_but_broken_pictures_is_an_error(tmp_path: Path) -> None:
    make_folders(tmp_path)
    for path in [*(tmp_path / "photos").iterdir(), *(tmp_path / "held_out").iterdir()]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of 4 panoramas"):
        teacher_cache(small_run(tmp_path), silent)


def test_a_full_disk_stops_the_stage_and_keeps_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(folder, fusion={"theta": 0.8})
    write = TeacherStore.write
    written: list[str] = []

    def full_after_two(store: TeacherStore, *arguments: Any) -> None:
        if len(written) == 2:
            raise CacheError("the disk is full", "there must be room", "Free some")
        written.append(arguments[2])
        write(store, *arguments)

    monkeypatch.setattr(TeacherStore, "write", full_after_two)
    with pytest.raises(CacheError, match="the disk is full"):
        teacher_cache(run, silent)
    monkeypatch.undo()
    assert to_do(run) == 2


def test_a_second_run_at_the_same_time_is_refused(folder: Path) -> None:
    run = small_run(folder)
    with (
        exclusive_lock(run.folder, "teacher-cache"),
        pytest.raises(CacheError, match="another teacher-cache is already running"),
    ):
        teacher_cache(run, silent)


@pytest.mark.slow
def test_an_address_without_a_scheduler_is_reported_in_one_sentence(tmp_path: Path) -> None:
    make_folders(tmp_path)
    with pytest.raises(InputError, match="no dask scheduler"):
        teacher_cache(small_run(tmp_path), silent, scheduler="tcp://127.0.0.1:9")
    assert not small_run(tmp_path).folder.exists()


@pytest.mark.slow
def test_workers_of_another_version_or_without_the_project_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask.distributed import LocalCluster

    def unknown_there(recipe: Recipe) -> dict[str, str]:
        return fingerprints(recipe)

    cluster: Any = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster:
        newer = dataclasses.replace(products.product(ENSEMBLE), version=99)
        monkeypatch.setattr(products, "PRODUCTS", (*products.PRODUCTS[:-1], newer))
        with pytest.raises(WorkerError, match=r"differs from this machine .another version"):
            teacher_cache(small_run(folder), silent, scheduler=cluster.scheduler_address)
        module = ModuleType("not_there")
        unknown_there.__module__, unknown_there.__qualname__ = "not_there", "unknown_there"
        monkeypatch.setitem(sys.modules, "not_there", module)
        monkeypatch.setattr(module, "unknown_there", unknown_there, raising=False)
        monkeypatch.setattr("stages.teacher_cache.fingerprints", unknown_there)
        with pytest.raises(WorkerError, match=r"differs from this machine .*No module named 'not_there'"):
            teacher_cache(small_run(folder), silent, scheduler=cluster.scheduler_address)


@pytest.mark.slow
def test_a_running_scheduler_gives_the_same_cache(finished_arrays: AllArrays, tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    make_folders(tmp_path)
    cluster: Any = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster:
        teacher_cache(small_run(tmp_path), silent, scheduler=cluster.scheduler_address)
    assert_equal(small_run(tmp_path), finished_arrays)


def test_what_is_assumed_of_an_assistants_pixels_is_reported_once(folder: Path) -> None:
    network, events = folder / "network", list[Event]()
    shutil.copytree(DEMO_FOLDER, network)
    (network / "preprocessor_config.json").unlink()
    assistant: dict[str, object] = {"kind": "transformers", "name": str(network)}
    assert teacher_cache(small_run(folder, assistant=assistant, data=TWO), events.append).computed == 2
    notes = [event.text for event in events if isinstance(event, Note)]
    assert sum("ImageNet's mean and std are assumed" in note for note in notes) == 1


def test_a_colour_profile_that_cannot_be_used_is_reported_once(folder: Path) -> None:
    for path in (folder / "photos").glob("[01].png"):
        picture = Image.open(path)
        picture.load()
        picture.save(path, icc_profile=b"no profile at all" * 20)
    events: list[Event] = []
    assert teacher_cache(small_run(folder), events.append).computed == 2
    notes = [event.text for event in events if isinstance(event, Note)]
    assert sum("colour profile that cannot be used" in note for note in notes) == 1
