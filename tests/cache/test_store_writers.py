"""Writers that are killed, crowd each other, or find the disk full: no panorama is torn, none that was done is lost."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cache.group import publish, write_group
from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import CacheError
from tests.cache.small_store import PRINT, assert_reads, failing, leftovers, write

REPO = Path(__file__).resolve().parents[2]

WRITER = """
import sys, time
from collections.abc import Mapping
import numpy as np
from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore

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
    store.write(MASKS, "f", f"p/{number}", Slow(number), {})
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("hangs_at", ["x", "z"])
def test_kill_9_while_writing_leaves_a_missing_panorama_and_the_done_ones(tmp_path: Path, hangs_at: str) -> None:
    path = tmp_path / "teacher.zarr"
    with python(WRITER, str(path), hangs_at) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    store = TeacherStore.open(path, "a")
    assert store.ids(MASKS, "f") == ["p/0", "p/1"]
    assert store.damaged(MASKS, "f") == []
    np.testing.assert_array_equal(store.read(MASKS, "f", "p/1")["z"], 1)
    with pytest.raises(CacheError, match="not in"):
        store.read(MASKS, "f", "p/2")

    assert bool(leftovers(store)) == (hangs_at == "z")
    store.write(MASKS, "f", "p/2", {"x": np.ones(3, np.uint8)}, {})
    assert store.ids(MASKS, "f") == ["p/0", "p/1", "p/2"]
    assert leftovers(store) == []


@pytest.mark.slow
def test_a_writer_killed_at_a_random_moment_never_leaves_a_torn_panorama(store: TeacherStore) -> None:
    fork = multiprocessing.get_context("fork")
    rounds = 6
    for number in range(rounds):
        process = fork.Process(target=write_for_ever, args=(store, number))
        process.start()
        deadline = time.monotonic() + 60
        while not store.ids(ENSEMBLE, PRINT) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.join(0.05 + 0.05 * number)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert store.damaged(ENSEMBLE, PRINT) == []
    assert store.ids(ENSEMBLE, PRINT)
    for panorama_id in store.ids(ENSEMBLE, PRINT):
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
from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore

first = int(sys.argv[2])
store = TeacherStore.open(sys.argv[1], "a")
for number in range(first, 12, 2):
    store.write(MASKS, "f", f"p/{number}", {"x": np.full((8, 8), number, np.int32)}, {"by": first})
"""


@pytest.mark.slow
def test_two_processes_that_make_one_store_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "teacher.zarr"
    writers = [python(CROWD, str(path), str(first)) for first in range(2)]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    store = TeacherStore.open(path, "r")
    assert store.ids(MASKS, "f") == sorted(f"p/{number}" for number in range(12))
    for number in range(12):
        np.testing.assert_array_equal(store.read(MASKS, "f", f"p/{number}")["x"], number)


def test_two_processes_at_the_same_panoramas_leave_them_sound(store: TeacherStore) -> None:
    """Two runs that share a product, or stage one started twice: no panorama is torn, and no writer fails."""
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_in_turn, args=(store, 6)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert store.damaged(ENSEMBLE, PRINT) == []
    assert store.ids(ENSEMBLE, PRINT)
    for panorama_id in store.ids(ENSEMBLE, PRINT):
        assert_reads(store, panorama_id)


def test_a_writer_that_another_one_of_the_same_panorama_overtakes_finds_it_done(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_the_other(folder: Path, attributes: Mapping[str, Any]) -> None:
        write_group(folder, attributes)
        monkeypatch.undo()
        write(store, "a")

    write(store, "b")
    monkeypatch.setattr("pipeline.cache.store.write_group", then_the_other)
    write(store, "a")
    assert_reads(store, "a")
    assert leftovers(store) == []


def write_in_turn(store: TeacherStore, count: int) -> None:
    for number in range(count):
        write(store, f"p/{number}")


def test_what_another_writer_discards_as_it_begins_is_written_again(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_the_other_begins(staged: Path, folder: Path) -> None:
        publish(staged, folder)
        monkeypatch.undo()
        store.discard(ENSEMBLE, PRINT, "a")

    monkeypatch.setattr("pipeline.cache.store.publish", then_the_other_begins)
    write(store, "a")
    assert_reads(store, "a")
    assert leftovers(store) == []


def test_a_panorama_that_vanishes_whenever_it_is_written_is_told(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_it_vanishes(staged: Path, folder: Path) -> None:
        publish(staged, folder)
        store.discard(ENSEMBLE, PRINT, "a")

    monkeypatch.setattr("pipeline.cache.store.publish", then_it_vanishes)
    with pytest.raises(CacheError, match=r"a vanished from .* while it was written"):
        write(store, "a")


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
    assert store.ids(ENSEMBLE, PRINT) == ["a"]
    assert_reads(store, "a")
    write(store, "b")
    assert_reads(store, "b")
    assert leftovers(store) == []


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
        store.write(ENSEMBLE, PRINT, "b", {"small": np.zeros(3, np.uint8), "noise": noise}, {})
    assert store.ids(ENSEMBLE, PRINT) == ["a"]
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
