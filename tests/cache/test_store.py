"""What the store promises: done is done, and nothing that is read differs from what was written."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.cache.failures import DamagedError
from pipeline.cache.group import read_group
from pipeline.cache.mark import folder_name, id_of_folder
from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import FORMAT, TeacherStore
from pipeline.errors import CacheError
from tests.cache.small_store import PRINT, arrays_of, assert_reads, chunks_of, leftovers, write

# Round trips


def test_what_is_written_is_read_with_values_types_and_provenance(store: TeacherStore) -> None:
    write(store, "street/0001", seed=1)
    assert_reads(TeacherStore.open(store.path, "r"), "street/0001", seed=1)
    assert store.provenance(ENSEMBLE, PRINT, "street/0001") == {"source_sha256": "sha of street/0001"}


def test_only_the_named_arrays_are_read(store: TeacherStore) -> None:
    write(store, "a")
    assert list(store.read(ENSEMBLE, PRINT, "a", ["runs"])) == ["runs"]
    with pytest.raises(CacheError, match=r"a \(ensemble\) has no boundary"):
        store.read(ENSEMBLE, PRINT, "a", ["boundary"])


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4, 4), bool),
        np.full((2, 2), np.nan, np.float32),
        np.empty((0, 4), np.float32),
        np.empty(0, np.int32),
        np.array(7, np.int64),
        np.arange(24).reshape(4, 6)[::2, ::-1].T,
    ],
    ids=["all zero", "all false", "nan", "no boxes", "no runs", "scalar", "strided"],
)
def test_arrays_that_zarr_might_leave_out_come_back_done_and_equal(
    store: TeacherStore, values: npt.NDArray[Any]
) -> None:
    store.write(MASKS, PRINT, "a", {"values": values}, {})
    assert store.is_done(MASKS, PRINT, "a")
    read = store.read(MASKS, PRINT, "a")["values"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_arrays_of_the_other_byte_order_come_back_with_their_values(store: TeacherStore) -> None:
    values = np.arange(6, dtype=">f4").reshape(2, 3)
    store.write(MASKS, PRINT, "a", {"values": values}, {})
    np.testing.assert_array_equal(store.read(MASKS, PRINT, "a")["values"], values)


def test_an_all_zero_array_has_its_chunk_so_that_its_loss_is_noticed(store: TeacherStore) -> None:
    store.write(ENSEMBLE, PRINT, "a", {"zeros": np.zeros((4, 4), np.uint8)}, {})
    (chunk,) = chunks_of(store, "a")
    chunk.unlink()
    assert not store.is_done(ENSEMBLE, PRINT, "a")
    with pytest.raises(DamagedError):
        store.read(ENSEMBLE, PRINT, "a")


def test_plain_zarr_opens_the_store_and_is_told_the_encodings(store: TeacherStore) -> None:
    write(store, "street/0001")
    store.describe(ENSEMBLE, PRINT, {"fusion": {"theta": 0.7}})
    root = zarr.open_group(str(store.path), mode="r")
    group = root[f"ensemble/{PRINT}"]
    assert isinstance(group, zarr.Group)
    assert group.attrs["settings"] == {"fusion": {"theta": 0.7}}
    ((_, panorama),) = group.groups()
    assert panorama.attrs["done"]["panorama_id"] == "street/0001"  # type: ignore[index, call-overload]
    logits = panorama["ensemble_probabilities"]
    assert isinstance(logits, zarr.Array)
    assert str(logits.attrs["encoding"]).startswith("sqrt8: ")
    np.testing.assert_array_equal(logits[...], arrays_of(0)["ensemble_probabilities"])


# Done and missing


def test_what_was_written_is_done_under_its_part_and_nothing_else_is(store: TeacherStore) -> None:
    write(store, "b")
    assert [store.is_done(ENSEMBLE, PRINT, i) for i in "abc"] == [False, True, False]
    assert not store.is_done(MASKS, PRINT, "b")
    assert store.ids(ENSEMBLE, PRINT) == ["b"]


def test_a_changed_fingerprint_reads_nothing_stale(store: TeacherStore) -> None:
    write(store, "a")
    assert not store.is_done(ENSEMBLE, "fedcba9876543210", "a")
    assert store.ids(ENSEMBLE, "fedcba9876543210") == []
    with pytest.raises(CacheError, match="teacher-cache"):
        store.read(ENSEMBLE, "fedcba9876543210", "a")
    assert store.fingerprints(ENSEMBLE) == [PRINT]


def test_a_discarded_panorama_is_missing_and_its_neighbour_is_not(store: TeacherStore) -> None:
    write(store, "a")
    write(store, "b")
    store.discard(ENSEMBLE, PRINT, "a")
    store.discard(ENSEMBLE, PRINT, "never there")
    assert store.ids(ENSEMBLE, PRINT) == ["b"]
    assert_reads(store, "b")


def test_settings_are_kept_beside_their_fingerprint(store: TeacherStore) -> None:
    write(store, "a")
    store.describe(ENSEMBLE, PRINT, {"theta": 0.7})
    write(store, "b")
    assert read_group(store.path / ENSEMBLE / PRINT) == {"settings": {"theta": 0.7}}


def test_an_array_that_cannot_be_stored_leaves_nothing_behind(store: TeacherStore) -> None:
    with pytest.raises(ValueError, match="words"):
        store.write(ENSEMBLE, PRINT, "a", {"runs": np.arange(3), "words": np.array(["x"])}, {})
    assert store.ids(ENSEMBLE, PRINT) == []
    assert leftovers(store) == []


# Ids


@pytest.mark.slow
@settings(max_examples=60)
@given(st.text(min_size=1, max_size=60))
@example("street/0001")
@example("a b/ü.1")
@example("zarr.json")
@example("..")
@example("__x")
@example("%2E")
@example("a~b")
@example("CON\\:*?")
@example("\udcff")
def test_ids_come_back_from_names_that_every_file_system_takes(panorama_id: str) -> None:
    name = folder_name(panorama_id)
    assert name.isascii()
    assert not set(name) & set('./\\:*?"<>| ')
    assert not name.startswith("__")
    assert len(name) <= 200
    shortened = len(name) > 150 and "~" in name
    assert id_of_folder(name) == (name if shortened else panorama_id)
    assert shortened or "~" not in name


@settings(max_examples=60)
@given(st.text("aA~%2E./_7", min_size=1, max_size=6), st.text("aA~%2E./_7", min_size=1, max_size=6))
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_ids_too_long_for_a_file_name_are_distinguished_and_come_back(store: TeacherStore) -> None:
    ids = [f"{'長い名前/' * 40}{k}" for k in range(2)]
    for k, panorama_id in enumerate(ids):
        write(store, panorama_id, seed=k)
    assert store.ids(ENSEMBLE, PRINT) == ids
    assert_reads(store, ids[1], seed=1)


@pytest.mark.parametrize("panorama_id", ["a b/ü.1", "zarr.json", "..", "street/0001", "\udcff"])
def test_awkward_ids_can_be_written_listed_and_read(store: TeacherStore, panorama_id: str) -> None:
    write(store, panorama_id)
    assert store.ids(ENSEMBLE, PRINT) == [panorama_id]
    assert_reads(store, panorama_id)


def test_a_folder_of_another_id_is_not_taken_for_this_one(store: TeacherStore) -> None:
    write(store, "IMG")
    folder = store.path / ENSEMBLE / PRINT
    (folder / "IMG").rename(folder / "img")  # what a file system that ignores case does
    assert not store.is_done(ENSEMBLE, PRINT, "img")
    with pytest.raises(DamagedError, match="belongs to IMG"):
        store.read(ENSEMBLE, PRINT, "img")


# Opening


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="does not exist"):
        TeacherStore.open(tmp_path / "teacher.zarr", "r")
    assert list(tmp_path.iterdir()) == []


def test_a_store_opened_for_reading_is_not_written(store: TeacherStore) -> None:
    write(store, "a")
    reader = TeacherStore.open(store.path, "r")
    for change in (
        lambda: write(reader, "b"),
        lambda: reader.discard(ENSEMBLE, PRINT, "a"),
        lambda: reader.describe(ENSEMBLE, PRINT, {}),
    ):
        with pytest.raises(CacheError, match="open for reading"):
            change()
    assert store.ids(ENSEMBLE, PRINT) == ["a"]


@pytest.mark.parametrize("mode", ["r", "a"])
@pytest.mark.parametrize("what", ["photos", "zarr", "file", "newer"])
def test_a_folder_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, what: str, mode: Any) -> None:
    path = tmp_path / "teacher.zarr"
    if what == "file":
        path.write_text("hello")
    elif what == "photos":
        path.mkdir()
        (path / "holiday.jpg").write_bytes(b"x")
    else:
        attributes = {"format": FORMAT, "version": 99} if what == "newer" else {}
        zarr.create_group(str(path), attributes=attributes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CacheError, match="version 99" if what == "newer" else "teacher.zarr"):
        TeacherStore.open(path, mode)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_becomes_a_store_and_opening_again_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "teacher.zarr"
    path.mkdir()
    write(TeacherStore.open(path, "a"), "a")
    assert_reads(TeacherStore.open(path, "a"), "a")
    assert json.loads((path / "zarr.json").read_text())["attributes"] == {"format": FORMAT, "version": 1}


# Cost


def test_memory_does_not_grow_with_the_number_of_panoramas(store: TeacherStore) -> None:
    def held_after(numbers: range) -> int:
        for number in numbers:
            store.write(ENSEMBLE, PRINT, f"{number}", {"x": values}, {})
            store.read(ENSEMBLE, PRINT, f"{number}")
        gc.collect()  # what waits in reference cycles, at times a whole panorama, is not held
        return tracemalloc.get_traced_memory()[0]

    values = np.zeros(200_000, np.uint8)
    tracemalloc.start()
    try:
        before = held_after(range(5))
        after = held_after(range(5, 25))
    finally:
        tracemalloc.stop()
    assert after - before < values.nbytes
