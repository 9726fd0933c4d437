"""A run's folder of students: none is lost, and what is asked for again comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.errors import CacheError
from stages.checkpoints import save_checkpoint
from stages.student_folder import RECORD, StudentFolder


@pytest.fixture
def one(tmp_path: Path) -> StudentFolder:
    return StudentFolder(tmp_path / "student", "one")


@pytest.fixture
def two(tmp_path: Path) -> StudentFolder:
    """The same folder, as the training of another student sees it."""
    return StudentFolder(tmp_path / "student", "two")


def weights_of(student: StudentFolder) -> Callable[[Path], None]:
    """Writes a student whose weights are its own name."""

    def fill(folder: Path) -> None:
        (folder / "weights").write_text(student.fingerprint)
        (folder / RECORD).write_text(json.dumps({"fingerprint": student.fingerprint, "steps": 4}))

    return fill


def final_weights(student: StudentFolder) -> str:
    return (student.final / "weights").read_text()


def test_a_student_is_finished_when_it_and_not_another_is_final(one: StudentFolder, two: StudentFolder) -> None:
    assert not one.is_finished
    assert one.record() == {}
    one.finish(weights_of(one))
    assert one.is_finished
    assert one.record()["steps"] == 4
    assert not two.is_finished


@pytest.mark.parametrize("content", ["", "[1, 2", "7"], ids=["empty", "torn", "a number"])
def test_a_damaged_record_is_that_of_no_student(one: StudentFolder, content: str) -> None:
    one.finish(weights_of(one))
    (one.final / RECORD).write_text(content)
    assert one.record() == {}
    assert not one.is_finished


def test_the_student_of_other_settings_is_kept_and_comes_back(one: StudentFolder, two: StudentFolder) -> None:
    one.finish(weights_of(one))
    two.finish(weights_of(two))
    assert final_weights(one) == "two"
    assert one.put_back()
    assert final_weights(one) == "one"
    assert one.is_finished
    assert two.put_back()
    assert final_weights(one) == "two"


def test_nothing_comes_back_that_was_not_finished_or_is_there(one: StudentFolder, two: StudentFolder) -> None:
    assert not one.put_back()
    one.finish(weights_of(one))
    assert not one.put_back()
    assert not two.put_back()
    assert final_weights(one) == "one"


def test_a_student_that_cannot_be_written_leaves_the_one_that_was_there(one: StudentFolder, two: StudentFolder) -> None:
    def full(folder: Path) -> None:
        (folder / "weights").write_text("half")
        raise OSError(28, "No space left on device")

    one.finish(weights_of(one))
    with pytest.raises(CacheError, match="No space left"):
        two.finish(full)
    assert final_weights(one) == "one"
    assert one.is_finished


def test_a_student_that_is_made_anew_replaces_itself_and_is_not_kept_twice(one: StudentFolder) -> None:
    one.finish(weights_of(one))
    one.finish(weights_of(one))
    assert [path.name for path in one.path.iterdir()] == ["final"]


def test_a_checkpoint_comes_back_with_its_tensors(one: StudentFolder, two: StudentFolder) -> None:
    one.save({"step": 3, "weights": {"layer": torch.arange(3.0)}})
    state = one.load()
    assert state is not None
    assert (state["step"], state["weights"]["layer"].tolist()) == (3, [0, 1, 2])
    assert two.load() is None


def test_the_checkpoint_before_the_latest_is_taken_where_that_one_is_torn(one: StudentFolder) -> None:
    one.save({"step": 1})
    one.save({"step": 2})
    one.checkpoint.write_bytes(one.checkpoint.read_bytes()[:100])
    state = one.load()
    assert state is not None
    assert state["step"] == 1


def test_an_unfinished_training_makes_way_and_goes_on_later(one: StudentFolder, two: StudentFolder) -> None:
    one.save({"step": 1})
    assert not one.make_way()
    assert two.make_way()
    assert not two.make_way()
    two.save({"step": 7})
    states = [one.load(), two.load()]
    assert [state and state["step"] for state in states] == [1, 7]


def test_checkpoints_of_a_finished_student_are_not_kept(one: StudentFolder, two: StudentFolder) -> None:
    one.save({"step": 4})
    one.finish(weights_of(one))
    assert two.make_way()
    assert not (two.path / "earlier").exists()


def test_what_a_training_went_on_from_goes_when_it_has_finished(one: StudentFolder, two: StudentFolder) -> None:
    one.save({"step": 1})
    two.make_way()
    one.finish(weights_of(one))
    assert not (one.path / "earlier" / "one").exists()
    assert one.is_finished


def test_forgotten_training_begins_anew(one: StudentFolder) -> None:
    one.save({"step": 1})
    one.save({"step": 2})
    one.forget_training()
    assert one.load() is None


def test_a_checkpoint_of_nobody_makes_way_without_being_kept(one: StudentFolder) -> None:
    save_checkpoint(one.checkpoint, {"step": 1})
    assert one.make_way()
    assert not (one.path / "earlier").exists()
