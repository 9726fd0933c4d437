"""The folder of an export: one kind of export in it, done panoramas known again, stale files removed, nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from stages.export_folder import ExportFolder, ExportKind, require_outside

KIND = ExportKind(run="street", split="panoramas", size="original", format="masks")
MADE_OF = {"settings": "s1", "source": "ab"}


@pytest.fixture
def folder(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path / "out")


def finish(folder: ExportFolder, name: str, made_of: dict[str, str], *files: str) -> None:
    """Write files of a panorama, named by their kinds, and mark it done."""
    written = {file.partition("/")[0]: file for file in files}
    for file in files:
        path = folder.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    folder.finish(name, made_of, written, {"height": 64})


def test_a_folder_says_what_it_is_and_is_claimed_again_by_the_same(folder: ExportFolder) -> None:
    for _ in range(2):
        folder.claim(KIND)
    about = json.loads((folder.path / "export.json").read_text())
    assert about == {"kind": "goodsam export", "run": "street", "split": "panoramas", "size": "original",
                     "format": "masks"}  # fmt: skip


def test_an_export_of_another_kind_is_refused_by_what_differs(folder: ExportFolder) -> None:
    folder.claim(KIND)
    with pytest.raises(
        InputError, match=r"holds an export of size original, format masks; this one is of size working"
    ):
        folder.require(replace(KIND, size="working", format="coco"))


@pytest.mark.parametrize("about", ["{", "[]", '{"kind": "other"}', '{"kind": "goodsam export", "run": "a"}'])
def test_a_folder_whose_description_is_not_ours_holds_something_else(folder: ExportFolder, about: str) -> None:
    folder.path.mkdir()
    (folder.path / "export.json").write_text(about)
    with pytest.raises(InputError, match=r"holds other files \(export\.json\)"):
        folder.claim(KIND)
    assert (folder.path / "export.json").read_text() == about


def test_what_a_killed_export_left_is_no_obstacle_and_a_stranger_is(folder: ExportFolder) -> None:
    (folder.path / ".export").mkdir(parents=True)
    (folder.path / ".export.lock").touch()
    folder.require(KIND)
    (folder.path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=r"other files \(holiday\.jpg\).*new or empty.*Choose another"):
        folder.require(KIND)


def test_a_file_is_no_folder(folder: ExportFolder) -> None:
    folder.path.touch()
    with pytest.raises(InputError, match="is a file"):
        folder.require(KIND)


def test_requiring_a_folder_makes_none(folder: ExportFolder) -> None:
    folder.require(KIND)
    assert not folder.path.exists()


def test_a_panorama_is_done_while_its_files_are_there_and_made_of_the_same(folder: ExportFolder) -> None:
    assert not folder.is_done("a/b", MADE_OF, frozenset({"labels"}))
    finish(folder, "a/b", MADE_OF, "labels/a/b.png", "masks/a/b.png")
    assert folder.is_done("a/b", MADE_OF, frozenset({"labels"}))
    assert folder.is_done("a/b", MADE_OF, frozenset())
    assert not folder.is_done("a/b", MADE_OF, frozenset({"labels", "overlays"}))
    assert not folder.is_done("a/b", {**MADE_OF, "source": "cd"}, frozenset({"labels"}))
    (folder.path / "masks/a/b.png").unlink()
    assert not folder.is_done("a/b", MADE_OF, frozenset({"labels"}))


def test_more_files_of_the_same_are_added_and_files_of_something_else_replace_the_old(folder: ExportFolder) -> None:
    finish(folder, "a", MADE_OF, "labels/a.png")
    finish(folder, "a", MADE_OF, "masks/a.png")
    assert folder.record("a")["files"] == {"labels": "labels/a.png", "masks": "masks/a.png"}
    finish(folder, "a", {**MADE_OF, "source": "cd"}, "labels/a.png")
    assert folder.record("a")["files"] == {"labels": "labels/a.png"}
    assert (folder.path / "labels/a.png").is_file()
    assert not (folder.path / "masks/a.png").exists()


def test_records_are_of_what_was_made_of_the_same_by_name(folder: ExportFolder) -> None:
    for name, settings in (("b", "s1"), ("deep/a", "s1"), ("c", "s2")):
        finish(folder, name, {"settings": settings, "source": name}, f"labels/{name}.png")
    assert [name for name, _ in folder.records({"settings": "s1"})] == ["b", "deep/a"]
    assert dict(folder.records({"settings": "s2"}))["c"]["facts"] == {"height": 64}
    assert list(ExportFolder(folder.path / "nowhere").records({})) == []


@pytest.mark.parametrize("content", ["", "{", "7"])
def test_a_damaged_record_is_that_of_a_panorama_to_do(folder: ExportFolder, content: str) -> None:
    finish(folder, "a", MADE_OF, "labels/a.png")
    (folder.path / ".export" / "a.json").write_text(content)
    assert folder.record("a") == {}
    assert not folder.is_done("a", MADE_OF, frozenset({"labels"}))
    assert list(folder.records({"settings": "s1"})) == []


def test_outputs_do_not_lie_among_panoramas_even_by_a_link(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, photos / "out", tmp_path / "link" / "out", photos / ".." / "photos" / "out"):
        with pytest.raises(InputError, match=r"lies inside .*photos; outputs must not be mistaken"):
            require_outside(out, [tmp_path / "other", photos])
    require_outside(tmp_path / "photos-out", [photos])
