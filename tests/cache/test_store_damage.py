"""What was damaged on the disk is caught, told, and mended by writing it again."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.cache.failures import DamagedError
from pipeline.cache.schema import ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import discard, entries, verify_entry
from pipeline.errors import CacheError
from tests.cache.small_store import PRINT, assert_reads, chunks_of, failing, files_of, write


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_chunk_is_always_caught(store: TeacherStore, seed: int) -> None:
    write(store, "street/0001")
    draw = random.Random(seed)
    flip(draw.choice(chunks_of(store, "street/0001")), draw)
    with pytest.raises(DamagedError, match=r"street/0001 \(ensemble\).*teacher-cache"):
        store.read(ENSEMBLE, PRINT, "street/0001")


def test_a_flipped_bit_in_metadata_is_caught_or_changes_nothing(store: TeacherStore) -> None:
    write(store, "a")
    draw = random.Random(0)
    for _ in range(40):
        path = draw.choice([path for path in files_of(store, "a") if path.name == "zarr.json"])
        content = path.read_bytes()
        flip(path, draw)
        with suppress(CacheError):
            assert_reads(store, "a")
        path.write_bytes(content)
    assert_reads(store, "a")


def test_every_lost_or_shortened_chunk_counts_as_missing_and_is_never_read_as_fill(store: TeacherStore) -> None:
    write(store, "a")
    for chunk in chunks_of(store, "a"):
        content = chunk.read_bytes()
        for damage in (lambda c=chunk: c.unlink(), lambda c=chunk, b=content: c.write_bytes(b[:-1])):
            damage()
            assert not store.is_done(ENSEMBLE, PRINT, "a")
            assert store.damaged(ENSEMBLE, PRINT) == ["a"]
            with pytest.raises(DamagedError, match=chunk.parent.name):
                store.read(ENSEMBLE, PRINT, "a")
            chunk.write_bytes(content)
    assert_reads(store, "a")


def test_a_chunk_of_another_panorama_is_caught_though_it_is_sound(store: TeacherStore) -> None:
    for panorama_id, value in (("a", 1), ("b", 2)):
        store.write(ENSEMBLE, PRINT, panorama_id, {"x": np.full((4, 4), value, np.uint8)}, {})
    shutil.copy(chunks_of(store, "b")[0], chunks_of(store, "a")[0])
    with pytest.raises(DamagedError, match="checksum"):
        store.read(ENSEMBLE, PRINT, "a")


def test_a_damaged_panorama_is_mended_by_writing_it_again(store: TeacherStore) -> None:
    write(store, "a", seed=1)
    (store.path / ENSEMBLE / PRINT / "a" / "zarr.json").write_text("{")
    assert not store.is_done(ENSEMBLE, PRINT, "a")
    write(store, "a", seed=2)
    assert_reads(store, "a", seed=2)


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def test_a_failing_disk_is_not_taken_for_a_damaged_panorama(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "a")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing(errno.EIO))
        with pytest.raises(CacheError, match="cannot be read") as caught:
            store.read(ENSEMBLE, PRINT, "a")
    assert not isinstance(caught.value, DamagedError)


@pytest.mark.parametrize(("code", "remedy"), [(errno.EIO, "Check the disk"), (errno.EACCES, "Change its permissions")])
def test_what_the_system_says_against_looking_into_the_store_is_reported(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    write(store, "a")
    looks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("read_text", lambda: store.is_done(ENSEMBLE, PRINT, "a")),
        ("read_text", lambda: store.ids(ENSEMBLE, PRINT)),
        ("read_text", lambda: TeacherStore.open(store.path, "r")),
        ("iterdir", lambda: store.damaged(ENSEMBLE, PRINT)),
        ("iterdir", lambda: store.fingerprints(ENSEMBLE)),
        ("exists", lambda: store.provenance(ENSEMBLE, PRINT, "a")),
    )
    for method, look in looks:
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, failing(code))
            with pytest.raises(CacheError, match=rf"teacher\.zarr.* cannot be read .*{remedy}"):
                look()


def test_a_failing_disk_costs_verify_nothing_that_is_sound(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "a")
    (entry,) = entries(store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing(errno.EIO))
        with pytest.raises(CacheError, match="cannot be read"):
            verify_entry(store, entry)
    assert verify_entry(store, entry) is None


@pytest.mark.parametrize("panorama_id", ["a", "street/" + "街" * 40])
def test_what_is_damaged_is_discarded_whatever_its_name(store: TeacherStore, panorama_id: str) -> None:
    write(store, panorama_id)
    write(store, "sound")
    chunks_of(store, panorama_id)[0].unlink()
    problems = [problem for entry in entries(store) if (problem := verify_entry(store, entry))]
    assert len(problems) == 1
    discard(store, problems)
    assert [entry.panorama_id for entry in entries(store)] == ["sound"]


def test_a_renamed_folder_is_damaged_and_can_be_discarded(store: TeacherStore) -> None:
    write(store, "a")
    folder = store.path / ENSEMBLE / PRINT / "a"
    folder.rename(folder.with_name("b"))
    (entry,) = entries(store)
    assert store.ids(ENSEMBLE, PRINT) == []
    problem = verify_entry(store, entry)
    assert problem is not None
    discard(store, [problem])
    assert list(entries(store)) == []


@pytest.mark.parametrize("left", [None, "", "{", "{}"])
def test_a_store_that_lost_its_own_description_is_not_called_something_else(
    store: TeacherStore, tmp_path: Path, left: str | None
) -> None:
    """Nobody is told to remove what may be whole; the description is written anew."""
    write(store, "a")
    description = store.path / "zarr.json"
    description.unlink()
    if left is not None:
        description.write_text(left)
    for mode in ("r", "a"):
        with pytest.raises(DamagedError, match=r"zarr\.json is missing or damaged.*verify RECIPE --discard"):
            TeacherStore.open(store.path, mode)
    undescribed = TeacherStore.open(store.path, "a", undescribed=True)
    assert undescribed.damaged_groups() == [description]
    undescribed.mend_group(description)
    other = TeacherStore.open(tmp_path / "another.zarr", "a")
    assert description.read_text() == (other.path / "zarr.json").read_text()
    assert undescribed.damaged_groups() == []
    assert_reads(TeacherStore.open(store.path, "r"), "a")
