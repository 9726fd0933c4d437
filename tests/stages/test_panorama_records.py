"""What a run knows of its panoramas survives kills and damage, and is never more than what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stages.panorama_records import PanoramaRecord, PanoramaRecords, record_of, size_and_time
from stages.products import product

ONE = PanoramaRecord("/photos/1.jpg", "a" * 64, 10, 20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "panoramas.jsonl"


def test_records_come_back_and_the_last_of_an_id_counts(file: Path) -> None:
    records = PanoramaRecords(file)
    assert dict(records) == {}
    records.add("panoramas/1", ONE)
    records.add("panoramas/\udcff", ONE)
    changed = replace(ONE, ignore_mask_sha256="b" * 64)
    records.add("panoramas/1", changed)
    assert dict(PanoramaRecords(file)) == dict(records) == {"panoramas/1": changed, "panoramas/\udcff": ONE}


def test_the_same_again_is_not_written_again(file: Path) -> None:
    records = PanoramaRecords(file)
    for _ in range(3):
        records.add("panoramas/1", ONE)
    assert len(file.read_text().splitlines()) == 1


@pytest.mark.parametrize("cut", range(1, 200, 13))
def test_a_line_that_was_cut_short_costs_itself_alone(file: Path, cut: int) -> None:
    records = PanoramaRecords(file)
    records.add("panoramas/1", ONE)
    whole = file.stat().st_size
    records.add("panoramas/2", ONE)
    content = file.read_bytes()
    file.write_bytes(content[: max(whole, len(content) - cut)])
    again = PanoramaRecords(file)
    assert "panoramas/1" in again
    again.add("panoramas/3", ONE)
    assert {"panoramas/1", "panoramas/3"} <= set(PanoramaRecords(file))


@pytest.mark.parametrize("line", ["", "7", "[]", "{}", '{"id": 3}', '{"id": "x", "path": "y", "more": 1}', "\xff"])
def test_lines_of_something_else_are_left_out(file: Path, line: str) -> None:
    PanoramaRecords(file).add("panoramas/1", ONE)
    with file.open("ab") as stream:
        stream.write(line.encode("latin-1") + b"\n")
    assert dict(PanoramaRecords(file)) == {"panoramas/1": ONE}
    assert PanoramaRecords(file).damaged == ((2,) if line else ())


def test_of_pictures_that_are_gone_nothing_is_kept(file: Path, tmp_path: Path) -> None:
    picture = tmp_path / "1.png"
    picture.write_bytes(b"picture")
    records = PanoramaRecords(file)
    there = record_of(picture, "c" * 64, "", size_and_time(picture))
    records.add("panoramas/gone", ONE)
    records.add("panoramas/there", there)
    records.compact(())
    before = file.stat().st_mtime_ns
    records.compact(())
    assert file.stat().st_mtime_ns == before
    assert dict(records) == dict(PanoramaRecords(file)) == {"panoramas/there": there}
    assert (there.size, there.modified_ns) == (7, picture.stat().st_mtime_ns)


def test_pictures_of_a_folder_that_may_not_be_looked_into_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    records = PanoramaRecords(file)
    records.add("panoramas/1", ONE)
    records.add("panoramas/1", ONE)
    monkeypatch.setattr(Path, "exists", locked)
    records.compact(())
    assert dict(records) == {"panoramas/1": ONE}


def test_a_file_that_cannot_be_looked_at_has_no_size_and_no_time(tmp_path: Path) -> None:
    assert size_and_time(tmp_path / "none") == (0, 0)


def test_entries_are_named_by_content_and_only_the_ensembles_by_the_mask() -> None:
    masked = replace(ONE, ignore_mask_sha256="b" * 64)
    assert ONE.entry(product("masks")) == masked.entry(product("masks")) == "a" * 32
    assert ONE.entry(product("ensemble")) == "a" * 32
    assert masked.entry(product("ensemble")) == f"{'a' * 32}-{'b' * 16}"
