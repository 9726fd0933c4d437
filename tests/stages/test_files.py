"""Outputs are whole or not there, whoever writes them and whatever the disk expected."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CacheError, InputError
from stages.files import digest, mask_digest, named_after_panorama, put_in_place, write_picture, write_whole, writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders_and_replaces_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "notes.txt"
    for text in ("first, and longer", "zweitens: ä"):
        write_whole(file, text)
        assert file.read_bytes() == text.encode()
    assert names(file.parent) == ["notes.txt"]


def test_what_cannot_be_put_in_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CacheError, match="taken cannot be written"):
        write_whole(tmp_path / "taken", b"1")
    assert names(tmp_path) == ["taken"]


def test_names_that_are_no_utf8_come_back_as_they_were(tmp_path: Path) -> None:
    odd = b"caf\xe9".decode(errors="surrogateescape")
    write_whole(tmp_path / "list", odd)
    assert (tmp_path / "list").read_bytes() == b"caf\xe9"


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_picture_has_the_format_of_its_ending(tmp_path: Path, ending: str) -> None:
    write_picture(tmp_path / f"x{ending}", Image.fromarray(np.full((4, 6, 3), 90, np.uint8)))
    with Image.open(tmp_path / f"x{ending}") as picture:
        assert (picture.format, picture.size) == ({".png": "PNG", ".jpg": "JPEG"}[ending], (6, 4))
        assert abs(int(np.asarray(picture)[0, 0, 0]) - 90) < 3


def test_only_errors_of_the_system_are_blamed_on_the_disk() -> None:
    with pytest.raises(CacheError, match=r"x cannot be written \(No space left on device\)"), writing(Path("x")):
        raise OSError(28, "No space left on device")
    with pytest.raises(ValueError, match="of its own"), writing(Path("x")):
        raise ValueError("of its own")


def test_a_name_that_cannot_be_used_is_the_fault_of_one_panorama_and_a_full_disk_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Rename the panorama"), named_after_panorama():
        write_whole(tmp_path / ("x" * 300), b"")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Rename the panorama"), named_after_panorama():
        write_whole(tmp_path / "file" / "below", b"")
    with pytest.raises(CacheError, match="No space left"), named_after_panorama(), writing(tmp_path):
        raise OSError(28, "No space left on device")


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    new, folder = tmp_path / "new", tmp_path / "folder"
    for path in (new, folder):
        path.mkdir()
        (path / path.name).touch()
    put_in_place(new, folder)
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_a_file_is_named_by_its_bytes_and_no_mask_by_nothing(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"123")
    assert (
        digest(tmp_path / "mask.png") == mask_digest(str(tmp_path / "mask.png")) == hashlib.sha256(b"123").hexdigest()
    )
    assert mask_digest("") == ""
    with pytest.raises(InputError, match=r"none\.png cannot be read \(No such file or directory\)"):
        mask_digest(str(tmp_path / "none.png"))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "must have free space. Free some space"),
        (errno.EACCES, "write permission. Change the folder's permissions"),
        (errno.ENOTDIR, "a file must not be where a folder is needed"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_why_a_file_cannot_be_written_decides_what_is_to_do(tmp_path: Path, number: int, expected: str) -> None:
    with pytest.raises(CacheError, match=expected), writing(tmp_path / "x"):
        raise OSError(number, os.strerror(number))


def test_a_file_in_the_way_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CacheError, match=r"cannot be written .*a file must not be where a folder is needed"):
        write_whole(tmp_path / "taken" / "table.csv", "a")
