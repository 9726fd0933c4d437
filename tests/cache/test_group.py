"""Groups as files: what counts as complete, what is refused, and that a name is given only to what is on the disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr

from pipeline.cache.group import (
    GROUP,
    MARK,
    chunk_file,
    mark_if_complete,
    publish,
    read_group,
    read_mark,
    stored_bytes,
    sync,
    write_group,
)
from pipeline.cache.mark import ArrayRecord, Mark
from tests.cache.small_store import failing


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A panorama's group of one array of ten bytes, and an empty one."""
    folder = tmp_path / "group"
    records = {"labels": ArrayRecord("uint8", (2, 5), 1, 10), "runs": ArrayRecord("int32", (0,), 0, 0)}
    write_group(folder, {MARK: Mark("a", records, {}).to_json()})
    (folder / "labels").mkdir()
    chunk(folder).write_bytes(b"0123456789")
    return folder


def chunk(group: Path) -> Path:
    return group / "labels" / "c.0.0"


@pytest.mark.parametrize(("shape", "name"), [((), "c"), ((7,), "c.0"), ((2, 3, 4), "c.0.0.0")])
def test_an_array_has_one_chunk_of_this_name(shape: tuple[int, ...], name: str) -> None:
    assert chunk_file(shape) == name


def test_the_size_of_a_chunk_is_that_of_its_file_and_an_empty_array_needs_none(group: Path) -> None:
    assert stored_bytes(group / "labels", (2, 5)) == 10
    assert stored_bytes(group / "nowhere", (0, 5)) == 0
    with pytest.raises(FileNotFoundError):
        stored_bytes(group / "nowhere", (2, 5))


def test_a_group_is_one_for_zarr_too(tmp_path: Path) -> None:
    write_group(tmp_path / "deep" / "group", {"encoding": "sqrt", "levels": [1, 2]})
    opened = zarr.open_group(tmp_path / "deep" / "group", mode="r", zarr_format=3)
    assert dict(opened.attrs) == {"encoding": "sqrt", "levels": [1, 2]} == read_group(tmp_path / "deep" / "group")


def test_attributes_that_json_lacks_leave_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_group(tmp_path / "group", {"fov": float("inf")})
    assert not (tmp_path / "group").exists()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"zarr_format": 3, "node_type": "array", "attributes": {}},
        {"zarr_format": 2, "node_type": "group", "attributes": {}},
        {"zarr_format": 3, "node_type": "group"},
        {"zarr_format": 3, "node_type": "group", "attributes": []},
    ],
)
def test_what_describes_no_group_is_refused(tmp_path: Path, document: object) -> None:
    (tmp_path / GROUP).write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"zarr\.json describes no group"):
        read_group(tmp_path)


def test_a_torn_description_is_damage_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_group(tmp_path)
    (tmp_path / GROUP).write_text('{"zarr_format": 3')
    with pytest.raises(ValueError, match="delimiter"):
        read_group(tmp_path)


def test_a_whole_group_has_its_mark(group: Path) -> None:
    mark = mark_if_complete(group)
    assert mark is not None
    assert mark == read_mark(group)
    assert (mark.panorama_id, mark.arrays["labels"].stored_bytes) == ("a", 10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda group: chunk(group).unlink(),
        lambda group: chunk(group).write_bytes(b"012345678"),
        lambda group: chunk(group).write_bytes(b"0123456789a"),
        lambda group: (chunk(group).unlink(), (group / "labels").rmdir()),
        lambda group: (group / GROUP).unlink(),
        lambda group: (group / GROUP).write_text("{"),
        lambda group: write_group(group, {}),
        lambda group: write_group(group, {MARK: {"panorama_id": "a"}}),
    ],
    ids=["no chunk", "short chunk", "long chunk", "no array", "no file", "torn file", "no mark", "damaged mark"],
)
def test_what_lacks_anything_is_not_complete(group: Path, damage: Callable[[Path], object]) -> None:
    damage(group)
    assert mark_if_complete(group) is None


def test_a_file_in_the_place_of_a_group_is_no_group(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert mark_if_complete(tmp_path / "file") is None
    assert mark_if_complete(tmp_path / "nowhere") is None


def test_a_failing_disk_says_nothing_of_the_panorama(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "stat", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        mark_if_complete(group)


def test_a_folder_gets_its_name_when_all_of_it_is_on_the_disk(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", lambda handle: done.append(Path(f"/proc/self/fd/{handle}").resolve().name))
    monkeypatch.setattr(Path, "rename", renamed)
    target = group.parent / "store" / "masks" / "a"
    publish(group, target)
    assert (target / "labels" / "c.0.0").read_bytes() == b"0123456789"
    assert not group.exists()
    assert set(done[: done.index("rename")]) == {"group", "labels", "c.0.0", GROUP}
    assert done[done.index("rename") + 1 :] == ["masks"]


def test_what_is_there_already_stays_and_the_other_is_removed(group: Path) -> None:
    target = group.parent / "a"
    target.mkdir()
    (target / "first").write_text("")
    publish(group, target)
    assert [path.name for path in target.iterdir()] == ["first"]
    assert not group.exists()


def test_a_name_that_cannot_be_given_is_an_error_and_loses_nothing(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "rename", failing(errno.EACCES))
    with pytest.raises(PermissionError):
        publish(group, group.parent / "a")
    assert chunk(group).is_file()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "fsync", failing(code))
    sync(tmp_path)


def test_a_sync_that_fails_is_an_error_and_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    close = os.close

    def closing(handle: int) -> None:
        closed.append(handle)
        close(handle)

    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    monkeypatch.setattr(os, "close", closing)
    with pytest.raises(OSError, match="Input/output"):
        sync(tmp_path)
    assert len(closed) == 1
