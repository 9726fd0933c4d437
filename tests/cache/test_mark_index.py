"""The index of done marks is quick where nothing changed, and never hides that something did."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.cache.group import MARK, write_group
from pipeline.cache.mark import Mark
from pipeline.cache.mark_index import MarkIndex
from pipeline.cache.schema import ENSEMBLE
from pipeline.cache.store import TeacherStore
from tests.cache.small_store import PRINT, arrays_of, chunks_of, failing, write


def opened(store: TeacherStore) -> MarkIndex:
    return store.mark_index(ENSEMBLE, PRINT)


def file_of(store: TeacherStore) -> Path:
    return store.path.with_name("teacher.zarr.index") / ENSEMBLE / f"{PRINT}.json"


def set_age(file: Path, seconds: float) -> None:
    os.utime(file, (time.time() - seconds, time.time() - seconds))


@pytest.fixture
def indexed(store: TeacherStore) -> TeacherStore:
    """A store of one panorama, whose index was written well after the mark."""
    write(store, "a")
    index = opened(store)
    assert index.is_done("a")
    index.save()
    set_age(file_of(store), -60)
    return store


def parses(store: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Panoramas whose marks are parsed from now on."""
    parsed: list[str] = []
    parse = TeacherStore.done_mark

    def heard(self: TeacherStore, part: str, fingerprint: str, panorama_id: str) -> Mark | None:
        parsed.append(panorama_id)
        return parse(self, part, fingerprint, panorama_id)

    monkeypatch.setattr(TeacherStore, "done_mark", heard)
    return parsed


def test_what_did_not_change_is_not_parsed_again(indexed: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = parses(indexed, monkeypatch)
    before = file_of(indexed).stat().st_mtime_ns
    index = opened(indexed)
    assert index.is_done("a")
    index.save()
    assert parsed == []
    assert file_of(indexed).stat().st_mtime_ns == before


def test_every_lost_or_shortened_chunk_is_seen(indexed: TeacherStore) -> None:
    for chunk in chunks_of(indexed, "a"):
        content = chunk.read_bytes()
        for damage in (lambda c=chunk: c.unlink(), lambda c=chunk, b=content: c.write_bytes(b[:-1])):
            damage()
            assert not opened(indexed).is_done("a")
            chunk.write_bytes(content)
    assert opened(indexed).is_done("a")


def test_a_mark_that_was_edited_is_seen_though_size_and_time_are_the_old(indexed: TeacherStore) -> None:
    mark = indexed.path / ENSEMBLE / PRINT / "a" / "zarr.json"
    before = mark.stat()
    mark.write_text(mark.read_text().replace("sha of a", "sha of b"))
    os.utime(mark, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not opened(indexed).is_done("a")


def test_a_panorama_that_was_done_again_is_done(indexed: TeacherStore) -> None:
    indexed.write(ENSEMBLE, PRINT, "a", arrays_of(1), {"source_sha256": "another"})
    assert opened(indexed).is_done("a")


def test_a_mark_as_young_as_the_index_is_parsed_again(indexed: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems tell times in steps: within one step a mark may change twice."""
    set_age(file_of(indexed), 0)
    parsed = parses(indexed, monkeypatch)
    assert opened(indexed).is_done("a")
    assert parsed == ["a"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "lost": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "no text": lambda file: file.write_bytes(b"\xff\xfe\n"),
    "changed": lambda file: file.write_text(file.read_text().replace("runs", "rums")),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_anew(indexed: TeacherStore, damage: str) -> None:
    DAMAGES[damage](file_of(indexed))
    index = opened(indexed)
    assert index.is_done("a")
    index.save()
    assert opened(indexed).is_done("a")


def test_an_index_of_an_earlier_form_is_made_anew(indexed: TeacherStore) -> None:
    content = json.dumps([1, ["source_sha256"], [], {"a": []}])
    file_of(indexed).write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
    assert opened(indexed).is_done("a")


def test_what_is_not_there_is_not_done(indexed: TeacherStore) -> None:
    assert not opened(indexed).is_done("b")
    indexed.discard(ENSEMBLE, PRINT, "a")
    index = opened(indexed)
    assert not index.is_done("a")
    index.save()
    write_group(indexed.path / ENSEMBLE / PRINT / "a", {MARK: {}})
    assert not opened(indexed).is_done("a")


def test_a_disk_that_takes_no_index_costs_the_hint_alone(store: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, "a")
    index = opened(store)
    assert index.is_done("a")
    monkeypatch.setattr(Path, "write_text", failing(28))
    index.save()
    assert not file_of(store).exists()


def test_threads_may_ask_side_by_side(store: TeacherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p{number}" for number in range(24)]
    for name in names[1:]:
        write(store, name)
    index = opened(store)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(index.is_done, names)) == [False] + [True] * 23
    index.save()
    set_age(file_of(store), -60)
    parsed = parses(store, monkeypatch)
    again = opened(store)
    assert all(again.is_done(name) for name in names[1:]) and not parsed
