"""Panoramas with the same content under several ids: stage one computes them once, and each has its own entry."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cache.schema import ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.errors import CacheError, InputError
from stages import equal_panoramas, panorama_task, products
from stages.equal_panoramas import EqualPanoramas, find_equal_panoramas, learned_from_note
from stages.evaluate import evaluate
from stages.events import Event, Note, silent
from stages.panorama_work import PanoramaTask, PanoramaWork
from stages.products import Product
from stages.runs import Run
from stages.splits import SplitPanorama
from stages.teacher_cache import CacheSummary, teacher_cache
from stages.verify import verify
from tests.stages.small_run import HEIGHT, RECIPE, WIDTH, entry_of, read_product, small_run, write_panorama

NAMES = ["masks", "assistant", "ensemble"]
BOTH = ("panoramas/street", "evaluation/copy")


def run_of(folder: Path, place: str = "held_out", **tables: dict[str, object]) -> Run:
    """A run that learns from `photos` and measures on another folder, without labels."""
    (folder / "small.toml").write_text(RECIPE)
    data: dict[str, object] = {"evaluation": str(folder / place) if place else "", "labels": ""}
    return small_run(folder, data=data, **tables)


def simple_products() -> tuple[Product, ...]:
    """The products under their names and fingerprints, made of the picture alone, without networks."""

    def arrays(work: PanoramaWork) -> dict[str, np.ndarray]:
        return {"ensemble_labels": work.image_HW3[..., 0].copy(), "ignored": work.ignored_HW}

    return tuple(replace(product, compute=arrays) for product in products.PRODUCTS)


@pytest.fixture(autouse=True)
def without_networks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed, and how often, does not depend on what the networks say; tests marked `slow` ask them."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(products, "PRODUCTS", simple_products())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of a run over one panorama to learn from and a copy of it to measure on."""
    write_panorama(tmp_path / "photos" / "street.png", 3)
    put(shutil.copyfile, "held_out/copy.png")(tmp_path)
    summary = teacher_cache(run_of(tmp_path), silent)
    assert (summary.total, summary.computed, summary.repeated, summary.failed) == (2, 1, 1, {})
    return tmp_path


def assert_one_entry(run: Run, one: str, other: str) -> None:
    """Both panoramas have all products, and share them."""
    for product in NAMES:
        assert entry_of(run, product, one) == entry_of(run, product, other)
        assert read_product(run, product, one)


def told(run: Run, **options: Any) -> tuple[CacheSummary, list[str]]:
    events: list[Event] = []
    summary = teacher_cache(run, events.append, **options)
    return summary, [event.text for event in events if isinstance(event, Note)]


def put(made: Callable[[Path, Path], object], *places: str) -> Callable[[Path], None]:
    """Lays `photos/street.png` into other places of a folder."""

    def lay(folder: Path) -> None:
        for place in places:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            made(folder / "photos" / "street.png", folder / place)

    return lay


def link(source: Path, place: Path) -> None:
    place.symlink_to(source)


@pytest.mark.parametrize(
    ("lay", "evaluation", "measured"),
    [
        (put(link), "photos", "street"),
        (put(shutil.copyfile, "photos/test/9.png"), "photos/test", "9"),
        (put(shutil.copyfile, "held_out/street.png"), "held_out", "street"),
        (put(link, "held_out/linked.png"), "held_out", "linked"),
        (put(os.link, "held_out/hard.png"), "held_out", "hard"),
    ],
    ids=["the same folder", "one folder inside the other", "copied", "linked", "hard link"],
)
def test_the_same_panorama_in_both_splits_is_computed_once(
    tmp_path: Path, lay: Callable[[Path], None], evaluation: str, measured: str
) -> None:
    write_panorama(tmp_path / "photos" / "street.png", 3)
    lay(tmp_path)
    run = run_of(tmp_path, evaluation)
    summary, notes = told(run)
    assert summary.products == dict.fromkeys(NAMES, 1)
    assert (summary.computed, summary.repeated) == (1, summary.total - 1)
    assert any("1 of the 1 panoramas of data.evaluation is in data.panoramas too" in note for note in notes)
    assert any("the same content as another: the cache has it once" in note for note in notes)
    assert_one_entry(run, "panoramas/street", f"evaluation/{measured}")
    again, _ = told(run)
    assert (again.computed, again.products) == (0, {})


def test_the_same_name_with_another_content_is_another_panorama(tmp_path: Path) -> None:
    write_panorama(tmp_path / "photos" / "street.png", 3)
    write_panorama(tmp_path / "held_out" / "street.png", 4)
    summary, notes = told(run_of(tmp_path))
    assert (summary.computed, summary.repeated) == (2, 0)
    assert not any("data.evaluation" in note or "same content" in note for note in notes)


def test_a_copy_that_is_changed_later_is_computed_alone(folder: Path) -> None:
    run = run_of(folder)
    before = read_product(run, ENSEMBLE, "panoramas/street")["ensemble_labels"]
    write_panorama(folder / "held_out" / "copy.png", 4)
    summary, notes = told(run)
    assert (summary.computed, summary.repeated) == (1, 0)
    assert not any("data.evaluation" in note for note in notes)
    np.testing.assert_array_equal(read_product(run, ENSEMBLE, "panoramas/street")["ensemble_labels"], before)
    assert (read_product(run, ENSEMBLE, "evaluation/copy")["ensemble_labels"] != before).any()


def test_a_panorama_that_becomes_a_copy_later_is_not_computed(tmp_path: Path) -> None:
    write_panorama(tmp_path / "photos" / "street.png", 3)
    run = run_of(tmp_path, "")
    assert teacher_cache(run, silent).computed == 1
    put(shutil.copyfile, "held_out/late.png")(tmp_path)
    summary, _ = told(run_of(tmp_path))
    assert (summary.computed, summary.repeated, summary.products) == (0, 1, {})
    assert_one_entry(run_of(tmp_path), "panoramas/street", "evaluation/late")


@pytest.mark.parametrize("writes", [1, 2])
def test_a_run_that_is_stopped_at_any_part_goes_on_without_computing_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Stopped after that many of the three products are stored."""
    run = run_of(folder, windows={"stride_x": 32})
    write, left = TeacherStore.write, [writes]

    def stops(store: TeacherStore, *arguments: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(store, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TeacherStore, "write", stops)
        with pytest.raises(KeyboardInterrupt):
            teacher_cache(run, silent)
    summary = teacher_cache(run, silent)
    assert list(summary.products) == NAMES[writes:]
    assert_one_entry(run, *BOTH)


@pytest.mark.slow
def test_two_workers_compute_it_once(tmp_path: Path) -> None:
    write_panorama(tmp_path / "photos" / "street.png", 3)
    write_panorama(tmp_path / "photos" / "other.png", 4)
    put(shutil.copyfile, "held_out/copy.png")(tmp_path)
    run = run_of(tmp_path)
    summary, notes = told(run, workers=2)
    assert (summary.computed, summary.repeated, summary.products) == (2, 1, dict.fromkeys(NAMES, 2))
    assert any("2 workers" in note for note in notes)
    assert_one_entry(run, *BOTH)


def test_two_at_once_in_threads_compute_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.teacher_cache.panoramas_at_once", lambda _: 2)
    write_panorama(tmp_path / "photos" / "street.png", 3)
    put(shutil.copyfile, "held_out/copy.png")(tmp_path)
    summary, _ = told(run_of(tmp_path))
    assert (summary.computed, summary.repeated) == (1, 1)


def test_a_damaged_entry_is_named_by_a_panorama_and_computed_once(folder: Path) -> None:
    run = run_of(folder)
    before = read_product(run, ENSEMBLE, BOTH[0])["ensemble_labels"]
    (chunk,) = (entry_of(run, ENSEMBLE, BOTH[0]) / "ensemble_labels").glob("c*")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1  # damage that only reading shows: the size stays
    chunk.write_bytes(content)
    (found,) = verify(run, remove=True)
    assert found.startswith(BOTH)
    summary, _ = told(run)
    assert (summary.computed, summary.products) == (1, {"ensemble": 1})
    assert verify(run) == []
    np.testing.assert_array_equal(read_product(run, ENSEMBLE, BOTH[1])["ensemble_labels"], before)


def test_a_copy_under_a_mask_of_its_own_shares_all_but_the_ensemble(tmp_path: Path) -> None:
    write_panorama(tmp_path / "photos" / "street.png", 3)
    put(shutil.copyfile, "held_out/copy.png")(tmp_path)
    for name, rows in (("street", 8), ("copy", 16)):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[-rows:] = 255
        (tmp_path / "rigs").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "rigs" / f"{name}.png")
    run = run_of(tmp_path, panorama={"ignore_mask": str(tmp_path / "rigs")})
    summary, _ = told(run)
    assert (summary.computed, summary.products) == (2, {"masks": 1, "assistant": 1, "ensemble": 2})
    rows = [read_product(run, ENSEMBLE, panorama_id)["ignored"].any(axis=1).sum() for panorama_id in BOTH]
    assert rows == [8, 16]


def test_a_broken_picture_in_both_is_set_aside_in_both(folder: Path) -> None:
    for place in ("photos/broken.png", "held_out/broken.png"):
        (folder / place).write_text("no picture")
    summary, _ = told(run_of(folder))
    assert sorted(summary.failed) == ["evaluation/broken", "panoramas/broken"]


def test_what_ends_the_run_ends_it_at_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def full(task: PanoramaTask, *_: object) -> None:
        tried.append(task.panorama.id)
        raise CacheError("the disk is full", "there must be room", "Free some")

    monkeypatch.setattr(panorama_task, "open_work", full)
    with pytest.raises(CacheError, match="the disk is full"):
        teacher_cache(run_of(folder, fusion={"theta": 0.9}), silent)
    assert len(tried) == 1


def test_the_evaluation_says_that_figures_flatter_the_student(finished: Path, tmp_path: Path) -> None:
    def notes_of_evaluation(run: Run) -> list[str]:
        events: list[Event] = []
        evaluate(run, events.append)
        return [event.text for event in events if isinstance(event, Note) and "flatter" in event.text]

    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "held_out" / "9.png").rename(folder / "other.png")
    shutil.copyfile(folder / "photos" / "0.png", folder / "held_out" / "copy.png")
    run = run_of(folder, evaluation={"overlays": 0})
    assert teacher_cache(run, silent).products == {}
    assert notes_of_evaluation(run) == [learned_from_note(1, 1)]
    shutil.copyfile(folder / "other.png", folder / "held_out" / "copy.png")
    assert teacher_cache(run, silent).products == {}
    assert notes_of_evaluation(run) == []


def panoramas_of(folder: Path, **contents: bytes) -> list[SplitPanorama]:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [SplitPanorama(f"panoramas/{name}", folder / name) for name in contents]


def find(panoramas: list[SplitPanorama], **known: str) -> EqualPanoramas:
    def size(panorama: SplitPanorama) -> int:
        return panorama.path.stat().st_size if panorama.path.exists() else 0

    return find_equal_panoramas(panoramas, size, lambda panorama: known.get(panorama.path.name, ""), "stage", silent)


def test_only_files_of_the_same_size_are_read_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = equal_panoramas.digest
    monkeypatch.setattr(equal_panoramas, "digest", lambda path: [read.append(path.name), real(path)][1])
    panoramas = panoramas_of(tmp_path, a=b"123", b=b"123", c=b"124", d=b"12")
    (tmp_path / "e").symlink_to(tmp_path / "a")
    equal = find([*panoramas, SplitPanorama("evaluation/e", tmp_path / "e")], b=real(tmp_path / "a"))
    assert sorted(read) == ["a", "c"]  # b is known, d alone of its size, e the same file as a
    assert equal.groups["evaluation/e"] == ("panoramas/a", "panoramas/b", "evaluation/e")
    assert [equal.first(f"panoramas/{name}") for name in "abcd"] == [f"panoramas/{name}" for name in "aacd"]
    assert equal.repeated == 2
    assert equal.distinct(panoramas) == 3
    assert equal.learned_and_measured() == ["evaluation/e"]


def test_files_that_cannot_be_read_are_equal_to_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise InputError(f"{path} cannot be read", "it must be a readable file", "Check it")

    monkeypatch.setattr(equal_panoramas, "digest", refuse)
    panoramas = panoramas_of(tmp_path, a=b"123", b=b"123")
    gone = [SplitPanorama("panoramas/gone", tmp_path / "gone"), SplitPanorama("panoramas/lost", tmp_path / "lost")]
    assert find(panoramas + gone).groups == {}


def test_copies_among_what_is_learned_from_flatter_nobody(tmp_path: Path) -> None:
    assert find(panoramas_of(tmp_path, a=b"123", b=b"123")).learned_and_measured() == []
    assert learned_from_note(0, 5) == ""
    assert "2 of the 5 panoramas of data.evaluation are in" in learned_from_note(2, 5)
