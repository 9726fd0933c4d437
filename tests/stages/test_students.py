"""A student's folder: complete or not there, and never taken for another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import CacheError
from stages.checkpoints import save_checkpoint
from stages.students import StudentFolder
from stages.training_record import RECORD


@pytest.fixture
def student(tmp_path: Path) -> StudentFolder:
    return StudentFolder(tmp_path / "students" / "one")


def weights(content: str) -> Callable[[Path], None]:
    """Writes a student of these weights."""

    def fill(folder: Path) -> None:
        (folder / "weights").write_text(content)
        (folder / RECORD).write_text(json.dumps({"fingerprint": "one", "steps": 4}))

    return fill


def save(student: StudentFolder, state: dict[str, Any]) -> None:
    save_checkpoint(student.checkpoint, {"student": student.path.name, **state})


def test_a_student_is_finished_when_it_is_complete(student: StudentFolder) -> None:
    assert not student.is_finished
    assert student.record() == {}
    student.finish(weights("first"))
    assert student.is_finished
    assert student.record()["steps"] == 4


@pytest.mark.parametrize("content", ["", "[1, 2", "7"], ids=["empty", "torn", "a number"])
def test_a_damaged_record_is_that_of_no_student(student: StudentFolder, content: str) -> None:
    student.finish(weights("first"))
    (student.final / RECORD).write_text(content)
    assert student.record() == {}
    assert not student.is_finished


def test_a_student_that_cannot_be_written_leaves_the_one_that_was_there(student: StudentFolder) -> None:
    def full(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    student.finish(weights("first"))
    with pytest.raises(CacheError, match="No space left"):
        student.finish(full)
    assert (student.final / "weights").read_text() == "first"
    assert student.is_finished


def test_a_student_that_is_made_anew_replaces_itself(student: StudentFolder) -> None:
    student.finish(weights("first"))
    student.finish(weights("second"))
    assert (student.final / "weights").read_text() == "second"
    assert [path.name for path in student.path.iterdir()] == ["final"]


def test_a_checkpoint_comes_back_with_its_tensors(student: StudentFolder) -> None:
    save(student, {"step": 3, "weights": {"layer": torch.arange(3.0)}})
    state = student.load()
    assert state is not None
    assert (state["step"], state["weights"]["layer"].tolist()) == (3, [0, 1, 2])


def test_the_checkpoint_before_the_latest_is_taken_where_that_one_is_torn(student: StudentFolder) -> None:
    save(student, {"step": 1})
    save(student, {"step": 2})
    student.checkpoint.write_bytes(student.checkpoint.read_bytes()[:100])
    state = student.load()
    assert state is not None
    assert state["step"] == 1


def test_a_checkpoint_that_was_put_into_another_students_folder_is_not_its_own(student: StudentFolder) -> None:
    save(student, {"step": 1})
    other = StudentFolder(student.path.with_name("two"))
    other.path.mkdir()
    other.checkpoint.write_bytes(student.checkpoint.read_bytes())
    assert other.load() is None


def test_forgotten_training_begins_anew(student: StudentFolder) -> None:
    save(student, {"step": 1})
    save(student, {"step": 2})
    student.forget_training()
    assert student.load() is None
