"""What the store promises: done is done, and nothing that is read differs from what was written."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.cache.mark import folder_name, id_of_folder
from pipeline.cache.store import FORMAT, DamagedError, Part, TeacherStore
from pipeline.errors import CacheError

REPO = Path(__file__).resolve().parents[2]
PRINT = "0123456789abcdef"
Arrays = dict[str, npt.NDArray[Any]]


def arrays_of(seed: int) -> Arrays:
    """A little of everything that stage one stores."""
    rng = np.random.default_rng(seed)
    return {
        "ensemble_logits": rng.integers(0, 256, (5, 8, 16), dtype=np.uint8),
        "features_1": rng.normal(size=(4, 4, 8)).astype(np.float16),
        "runs": rng.integers(0, 1000, 50, dtype=np.int32),
        "reliability": rng.random((8, 16)) < 0.5,
    }


def write(store: TeacherStore, panorama_id: str, seed: int = 0, part: Part = Part.ENSEMBLE) -> None:
    store.write(part, PRINT, panorama_id, arrays_of(seed), {"source_sha256": f"sha of {panorama_id}"})


def assert_reads(store: TeacherStore, panorama_id: str, seed: int = 0) -> None:
    read = store.read(Part.ENSEMBLE, PRINT, panorama_id)
    assert list(read) == list(arrays_of(seed))
    for name, values in arrays_of(seed).items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def files_of(store: TeacherStore, panorama_id: str) -> list[Path]:
    folder = store.path / Part.ENSEMBLE / PRINT / folder_name(panorama_id)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def chunks_of(store: TeacherStore, panorama_id: str) -> list[Path]:
    return [path for path in files_of(store, panorama_id) if path.name.startswith("c")]


@pytest.fixture
def store(tmp_path: Path) -> TeacherStore:
    return TeacherStore.open(tmp_path / "run" / "teacher.zarr", "a")


# Round trips


def test_what_is_written_is_read_with_values_types_and_provenance(store: TeacherStore) -> None:
    write(store, "street/0001", seed=1)
    assert_reads(TeacherStore.open(store.path, "r"), "street/0001", seed=1)
    assert store.provenance(Part.ENSEMBLE, PRINT, "street/0001") == {"source_sha256": "sha of street/0001"}


def test_only_the_named_arrays_are_read(store: TeacherStore) -> None:
    write(store, "a")
    assert list(store.read(Part.ENSEMBLE, PRINT, "a", ["runs"])) == ["runs"]
    with pytest.raises(CacheError, match=r"a \(ensemble\) has no boundary"):
        store.read(Part.ENSEMBLE, PRINT, "a", ["boundary"])


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
    store.write(Part.MASKS, PRINT, "a", {"values": values}, {})
    assert store.is_done(Part.MASKS, PRINT, "a")
    read = store.read(Part.MASKS, PRINT, "a")["values"]
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


def test_an_all_zero_array_has_its_chunk_so_that_its_loss_can_be_told(store: TeacherStore) -> None:
    store.write(Part.ENSEMBLE, PRINT, "a", {"zeros": np.zeros((4, 4), np.uint8)}, {})
    (chunk,) = chunks_of(store, "a")
    chunk.unlink()
    assert store.missing(Part.ENSEMBLE, PRINT, ["a"]) == ["a"]
    with pytest.raises(DamagedError):
        store.read(Part.ENSEMBLE, PRINT, "a")


def test_plain_zarr_opens_the_store_and_is_told_the_encodings(store: TeacherStore) -> None:
    write(store, "street/0001")
    store.describe(Part.ENSEMBLE, PRINT, {"fusion": {"theta": 0.7}})
    root = zarr.open_group(str(store.path), mode="r")
    group = root[f"ensemble/{PRINT}"]
    assert isinstance(group, zarr.Group)
    assert group.attrs["settings"] == {"fusion": {"theta": 0.7}}
    ((_, panorama),) = group.groups()
    assert panorama.attrs["done"]["panorama_id"] == "street/0001"  # type: ignore[index, call-overload]
    logits = panorama["ensemble_logits"]
    assert isinstance(logits, zarr.Array)
    assert str(logits.attrs["encoding"]).startswith("sqrt8: ")
    np.testing.assert_array_equal(logits[...], arrays_of(0)["ensemble_logits"])


# Done and missing


def test_missing_are_those_that_are_not_done_in_their_order(store: TeacherStore) -> None:
    write(store, "b")
    assert store.missing(Part.ENSEMBLE, PRINT, ["c", "b", "a"]) == ["c", "a"]
    assert store.missing(Part.MASKS, PRINT, ["b"]) == ["b"]
    assert store.ids(Part.ENSEMBLE, PRINT) == ["b"]


def test_a_changed_fingerprint_reads_nothing_stale(store: TeacherStore) -> None:
    write(store, "a")
    assert not store.is_done(Part.ENSEMBLE, "fedcba9876543210", "a")
    assert store.ids(Part.ENSEMBLE, "fedcba9876543210") == []
    with pytest.raises(CacheError, match="teacher-cache"):
        store.read(Part.ENSEMBLE, "fedcba9876543210", "a")
    assert store.fingerprints(Part.ENSEMBLE) == [PRINT]


def test_a_changed_source_counts_as_missing_and_is_replaced(store: TeacherStore) -> None:
    write(store, "a", seed=1)
    assert store.is_done(Part.ENSEMBLE, PRINT, "a", source_sha256="sha of a")
    assert store.missing(Part.ENSEMBLE, PRINT, ["a"], source_sha256={"a": "another"}) == ["a"]
    store.write(Part.ENSEMBLE, PRINT, "a", arrays_of(2), {"source_sha256": "another"})
    assert store.is_done(Part.ENSEMBLE, PRINT, "a", source_sha256="another")
    assert_reads(store, "a", seed=2)


def test_a_discarded_panorama_is_missing_and_its_neighbour_is_not(store: TeacherStore) -> None:
    write(store, "a")
    write(store, "b")
    store.discard(Part.ENSEMBLE, PRINT, "a")
    store.discard(Part.ENSEMBLE, PRINT, "never there")
    assert store.ids(Part.ENSEMBLE, PRINT) == ["b"]
    assert_reads(store, "b")


def test_settings_are_kept_beside_their_fingerprint(store: TeacherStore) -> None:
    write(store, "a")
    assert store.settings(Part.ENSEMBLE, PRINT) == {}
    store.describe(Part.ENSEMBLE, PRINT, {"theta": 0.7})
    write(store, "b")
    assert store.settings(Part.ENSEMBLE, PRINT) == {"theta": 0.7}


def test_an_array_that_cannot_be_stored_leaves_nothing_behind(store: TeacherStore) -> None:
    with pytest.raises(ValueError, match="words"):
        store.write(Part.ENSEMBLE, PRINT, "a", {"runs": np.arange(3), "words": np.array(["x"])}, {})
    assert store.missing(Part.ENSEMBLE, PRINT, ["a"]) == ["a"]
    assert leftovers(store) == []


# Ids


@settings(deadline=None, max_examples=60)
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


@settings(deadline=None, max_examples=60)
@given(st.text("aA~%2E./_7", min_size=1, max_size=6), st.text("aA~%2E./_7", min_size=1, max_size=6))
def test_different_ids_have_different_names(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_ids_too_long_for_a_file_name_are_told_apart_and_come_back(store: TeacherStore) -> None:
    ids = [f"{'長い名前/' * 40}{k}" for k in range(2)]
    for k, panorama_id in enumerate(ids):
        write(store, panorama_id, seed=k)
    assert store.ids(Part.ENSEMBLE, PRINT) == ids
    assert_reads(store, ids[1], seed=1)


@pytest.mark.parametrize("panorama_id", ["a b/ü.1", "zarr.json", "..", "street/0001", "\udcff"])
def test_awkward_ids_can_be_written_listed_and_read(store: TeacherStore, panorama_id: str) -> None:
    write(store, panorama_id)
    assert store.ids(Part.ENSEMBLE, PRINT) == [panorama_id]
    assert_reads(store, panorama_id)


def test_a_folder_of_another_id_is_not_taken_for_this_one(store: TeacherStore) -> None:
    write(store, "IMG")
    folder = store.path / Part.ENSEMBLE / PRINT
    (folder / "IMG").rename(folder / "img")  # what a file system that ignores case does
    assert not store.is_done(Part.ENSEMBLE, PRINT, "img")
    with pytest.raises(DamagedError, match="that of IMG"):
        store.read(Part.ENSEMBLE, PRINT, "img")


# Damage


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_a_chunk_is_always_caught(store: TeacherStore, seed: int) -> None:
    write(store, "street/0001")
    draw = random.Random(seed)
    flip(draw.choice(chunks_of(store, "street/0001")), draw)
    with pytest.raises(DamagedError, match=r"street/0001 \(ensemble\).*teacher-cache"):
        store.read(Part.ENSEMBLE, PRINT, "street/0001")


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
            assert store.missing(Part.ENSEMBLE, PRINT, ["a"]) == ["a"]
            assert store.damaged(Part.ENSEMBLE, PRINT) == ["a"]
            with pytest.raises(DamagedError, match=chunk.parent.name):
                store.read(Part.ENSEMBLE, PRINT, "a")
            chunk.write_bytes(content)
    assert_reads(store, "a")


def test_a_chunk_of_another_panorama_is_caught_though_it_is_sound(store: TeacherStore) -> None:
    for panorama_id, value in (("a", 1), ("b", 2)):
        store.write(Part.ENSEMBLE, PRINT, panorama_id, {"x": np.full((4, 4), value, np.uint8)}, {})
    shutil.copy(chunks_of(store, "b")[0], chunks_of(store, "a")[0])
    with pytest.raises(DamagedError, match="checksum"):
        store.read(Part.ENSEMBLE, PRINT, "a")


def test_a_damaged_panorama_is_mended_by_writing_it_again(store: TeacherStore) -> None:
    write(store, "a", seed=1)
    (store.path / Part.ENSEMBLE / PRINT / "a" / "zarr.json").write_text("{")
    assert store.missing(Part.ENSEMBLE, PRINT, ["a"]) == ["a"]
    write(store, "a", seed=2)
    assert_reads(store, "a", seed=2)


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


# Killed, crowded, full


WRITER = """
import sys, time
from collections.abc import Mapping
import numpy as np
from pipeline.cache.store import Part, TeacherStore

class Slow(Mapping):  # hands out one array, then hangs in the middle of the write
    def __init__(self, number): self.number = number
    def __len__(self): return 3
    def __iter__(self): return iter("xyz")
    def __getitem__(self, name):
        if self.number == 2 and name == sys.argv[2]:
            print("writing", flush=True)
            time.sleep(60)
        return np.full((8, 8), self.number, np.uint8)

store = TeacherStore.open(sys.argv[1], "a")
for number in range(3):
    store.write(Part.MASKS, "f", f"p/{number}", Slow(number), {})
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def leftovers(store: TeacherStore) -> list[Path]:
    return [path for path in store.path.with_name(f"{store.path.name}.writing").rglob("*") if path.is_file()]


@pytest.mark.parametrize("hangs_at", ["x", "z"])
def test_kill_9_while_writing_leaves_a_missing_panorama_and_the_done_ones(tmp_path: Path, hangs_at: str) -> None:
    path = tmp_path / "teacher.zarr"
    with python(WRITER, str(path), hangs_at) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    store = TeacherStore.open(path, "a")
    ids = ["p/0", "p/1", "p/2"]
    assert store.missing(Part.MASKS, "f", ids) == ["p/2"]
    assert store.damaged(Part.MASKS, "f") == []
    np.testing.assert_array_equal(store.read(Part.MASKS, "f", "p/1")["z"], 1)
    with pytest.raises(CacheError, match="not in"):
        store.read(Part.MASKS, "f", "p/2")

    assert bool(leftovers(store)) == (hangs_at == "z")
    store.write(Part.MASKS, "f", "p/2", {"x": np.ones(3, np.uint8)}, {})
    assert store.missing(Part.MASKS, "f", ids) == []
    assert leftovers(store) == []


def test_a_writer_killed_at_a_random_moment_never_leaves_a_torn_panorama(store: TeacherStore) -> None:
    fork = multiprocessing.get_context("fork")
    rounds = 6
    for number in range(rounds):
        process = fork.Process(target=write_for_ever, args=(store, number))
        process.start()
        process.join(0.05 + 0.05 * number)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert store.damaged(Part.ENSEMBLE, PRINT) == []
    for panorama_id in store.ids(Part.ENSEMBLE, PRINT):
        assert_reads(store, panorama_id, seed=0)
    write(store, "b")
    assert_reads(store, "b")


def write_for_ever(store: TeacherStore, number: int) -> None:
    while True:
        for panorama_id in ("a", f"b{number}"):
            write(store, panorama_id)


def test_a_forked_process_reads_a_store_that_its_parent_has_read(store: TeacherStore) -> None:
    """PyTorch's data loader forks its workers on Linux."""
    write(store, "a")
    assert_reads(store, "a")
    process = multiprocessing.get_context("fork").Process(target=assert_reads, args=(pickled(store), "a"))
    process.start()
    process.join(30)
    process.kill()
    assert process.exitcode == 0


def pickled(store: TeacherStore) -> TeacherStore:
    return pickle.loads(pickle.dumps(store))


CROWD = """
import sys
import numpy as np
from pipeline.cache.store import Part, TeacherStore

first = int(sys.argv[2])
store = TeacherStore.open(sys.argv[1], "a")
for number in range(first, 12, 2):
    store.write(Part.MASKS, "f", f"p/{number}", {"x": np.full((8, 8), number, np.int32)}, {"by": first})
"""


def test_two_processes_that_make_one_store_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "teacher.zarr"
    writers = [python(CROWD, str(path), str(first)) for first in range(2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    store = TeacherStore.open(path, "r")
    assert store.missing(Part.MASKS, "f", [f"p/{number}" for number in range(12)]) == []
    for number in range(12):
        np.testing.assert_array_equal(store.read(Part.MASKS, "f", f"p/{number}")["x"], number)


def test_two_processes_at_the_same_panoramas_leave_them_sound(store: TeacherStore) -> None:
    """A mistake of the user, who started stage one twice; a writer may be told so, no panorama may be torn."""
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_in_turn, args=(store, 6)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert store.damaged(Part.ENSEMBLE, PRINT) == []
    for panorama_id in store.ids(Part.ENSEMBLE, PRINT):
        assert_reads(store, panorama_id)


def write_in_turn(store: TeacherStore, count: int) -> None:
    for number in range(count):
        with suppress(CacheError):
            write(store, f"p/{number}")


@pytest.mark.parametrize("function", ["fsync", "rename", "replace", "mkdir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_a_cache_error_and_what_was_done_still_reads(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    write(store, "a")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(code))
        with pytest.raises(CacheError, match=r"b \(.*cannot be written"):
            write(store, "b")
    assert store.missing(Part.ENSEMBLE, PRINT, ["a", "b"]) == ["b"]
    assert_reads(store, "a")
    write(store, "b")
    assert_reads(store, "b")
    assert leftovers(store) == []


def failing(code: int) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def file_limit() -> Iterator[int]:
    """The system refuses files above this many bytes, as a full disk would: in the middle of a chunk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_the_system_cuts_short_is_a_cache_error(store: TeacherStore, file_limit: int) -> None:
    write(store, "a")
    noise = np.random.default_rng(0).integers(0, 256, 2 * file_limit, dtype=np.uint8)
    with pytest.raises(CacheError, match=r"b .*cannot be written"):
        store.write(Part.ENSEMBLE, PRINT, "b", {"small": np.zeros(3, np.uint8), "noise": noise}, {})
    assert store.ids(Part.ENSEMBLE, PRINT) == ["a"]
    assert leftovers(store) == []
    assert_reads(store, "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere: permissions of folders are not tested")
def test_a_folder_without_write_permission_is_a_cache_error(store: TeacherStore) -> None:
    write(store, "a")
    store.path.parent.chmod(0o500)
    try:
        with pytest.raises(CacheError, match="permissions"):
            write(store, "b")
        assert_reads(TeacherStore.open(store.path, "a"), "a")
    finally:
        store.path.parent.chmod(0o700)


def test_a_failing_disk_is_not_taken_for_a_damaged_panorama(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "a")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing(errno.EIO))
        with pytest.raises(CacheError, match="cannot be read") as caught:
            store.read(Part.ENSEMBLE, PRINT, "a")
    assert not isinstance(caught.value, DamagedError)


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
        lambda: reader.discard(Part.ENSEMBLE, PRINT, "a"),
        lambda: reader.describe(Part.ENSEMBLE, PRINT, {}),
    ):
        with pytest.raises(CacheError, match="open for reading"):
            change()
    assert store.ids(Part.ENSEMBLE, PRINT) == ["a"]


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
            store.write(Part.ENSEMBLE, PRINT, f"{number}", {"x": values}, {})
            store.read(Part.ENSEMBLE, PRINT, f"{number}")
        return tracemalloc.get_traced_memory()[0]

    values = np.zeros(200_000, np.uint8)
    tracemalloc.start()
    try:
        before = held_after(range(5))
        after = held_after(range(5, 25))
    finally:
        tracemalloc.stop()
    assert after - before < values.nbytes
