"""Checkpoints and folders that are whole or not there, and errors when they cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from pipeline.errors import CacheError
from stages.checkpoints import load_checkpoint, previous_of, replace_folder, save_checkpoint

FULL = Path("/dev/full")
"""A file whose every write fails for want of room."""


def test_a_checkpoint_of_another_student_does_not_hide_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for name in ("mine", "another"):
        save_checkpoint(path, {"student": name})
    for name in ("mine", "another"):
        assert load_checkpoint(path, name) == {"student": name}
    assert load_checkpoint(path, "a third") is None


def test_the_latest_checkpoint_that_can_be_read_counts(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, "one") is None
    for step in (1, 2):
        save_checkpoint(path, {"student": "one", "step": step, "weights": torch.ones(3)})
    assert load_checkpoint(path, "one") is not None and load_checkpoint(path, "one")["step"] == 2  # type: ignore[index]
    path.write_bytes(path.read_bytes()[:200])
    state = load_checkpoint(path, "one")
    assert state is not None and state["step"] == 1
    path.write_text("junk\n")
    state = load_checkpoint(path, "one")
    assert state is not None and state["step"] == 1
    torch.save([1], path)
    state = load_checkpoint(path, "one")
    assert state is not None and state["step"] == 1
    path.unlink()
    previous_of(path).unlink()
    assert load_checkpoint(path, "one") is None


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("weights", [1, 1_000_000])
def test_a_full_disk_is_reported_in_one_sentence_and_leaves_the_last_checkpoint(tmp_path: Path, weights: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"student": "one", "step": 1})
    path.with_suffix(".partial").symlink_to(FULL)
    with pytest.raises(CacheError, match=r"checkpoint\.pt cannot be written \(No space left on device\);.* Free some"):
        save_checkpoint(path, {"student": "one", "step": 2, "weights": torch.ones(weights)})
    assert load_checkpoint(path, "one") == {"student": "one", "step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_that_cannot_take_its_place_is_reported_and_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"student": "one", "step": 1})
    previous_of(path).mkdir()
    with pytest.raises(CacheError, match=r"cannot be written \(Is a directory\)"):
        save_checkpoint(path, {"student": "one", "step": 2})
    assert load_checkpoint(path, "one") == {"student": "one", "step": 1}


def test_a_folder_that_cannot_be_made_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "student").write_text("in the way")
    with pytest.raises(CacheError, match="a file must not be where a folder is needed"):
        save_checkpoint(tmp_path / "student" / "checkpoint.pt", {"student": "one", "step": 1})


def test_a_folder_is_replaced_only_when_its_successor_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "final"

    def write(text: str) -> Callable[[Path], None]:
        def fill(new: Path) -> None:
            (new / "a").write_text(text)

        return fill

    replace_folder(folder, write("1"))

    def fail(new: Path) -> None:
        write("2")(new)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_folder(folder, fail)
    assert (folder / "a").read_text() == "1"
    replace_folder(folder, write("3"))
    assert (folder / "a").read_text() == "3"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left")])
def test_a_folder_that_cannot_be_written_leaves_the_one_that_is_there(tmp_path: Path, error: Exception) -> None:
    folder = tmp_path / "final"
    folder.mkdir()
    (folder / "a").write_text("1")

    def fail(new: Path) -> None:
        (new / "a").write_text("2")
        raise error

    with pytest.raises(CacheError, match="No space left"):
        replace_folder(folder, fail)
    assert (folder / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
