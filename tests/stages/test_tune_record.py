"""Judgements survive a killed run; a line that was cut short costs itself alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.errors import CacheError
from pipeline.tune.judge import Judgement
from stages.tune_record import Scores


def judgement(value: float) -> Judgement:
    """A judgement whose numbers are all alike."""
    return Judgement(**{field.name: value for field in fields(Judgement)})


def judgements_in(file: Path) -> Scores[Judgement]:
    """What a run finds in a file."""
    return Scores(file, Judgement)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tune" / "judgements.jsonl"


def test_judgements_are_known_by_blend_and_panorama_in_the_next_run_too(file: Path) -> None:
    judgements = judgements_in(file)
    assert judgements.get("blend", "a") is None and not file.exists()
    judgements.add("blend", "a", judgement(0.25))
    judgements.add("blend", "b", judgement(0.5))
    for known in (judgements, judgements_in(file)):
        assert known.get("blend", "a") == judgement(0.25)
        assert known.get("blend", "b") == judgement(0.5)
        assert known.get("other", "a") is None


def test_of_two_judgements_the_later_one_counts(file: Path) -> None:
    for value in (0.25, 0.75):
        judgements_in(file).add("blend", "a", judgement(value))
    assert judgements_in(file).get("blend", "a") == judgement(0.75)


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_that_was_cut_short_is_done_again_and_spoils_no_other(file: Path, cut: int) -> None:
    for name in "ab":
        judgements_in(file).add("blend", name, judgement(0.25))
    file.write_bytes(file.read_bytes()[:-cut])
    again = judgements_in(file)
    assert again.get("blend", "a") == judgement(0.25)
    again.add("blend", "c", judgement(0.5))
    assert judgements_in(file).get("blend", "a") == judgement(0.25)
    assert judgements_in(file).get("blend", "c") == judgement(0.5)


@pytest.mark.parametrize("line", ["7", "[]", '{"setting": "x"}', '{"setting": "x", "panorama": "a", "score": {}}', ""])
def test_a_line_that_is_no_judgement_is_left_out(file: Path, line: str) -> None:
    judgements_in(file).add("blend", "a", judgement(0.25))
    file.write_text(f"{line}\n{file.read_text()}")
    found = judgements_in(file)
    assert found.get("blend", "a") == judgement(0.25)
    assert found.get("x", "a") is None


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "tune").touch()
    with pytest.raises(CacheError, match="cannot be written"):
        judgements_in(tmp_path / "tune" / "judgements.jsonl").add("blend", "a", judgement(1))
