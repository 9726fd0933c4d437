"""Names of what a run has made: the latest last, each once, and a damaged list costs nothing but the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import CacheError
from stages.results import Results, read_results, record_results


def test_a_run_without_results_has_none(tmp_path: Path) -> None:
    none = read_results(tmp_path)
    assert none == Results()
    assert (none.student, none.evaluation) == ("", "")


def test_results_come_back_from_a_file_that_says_what_they_are(tmp_path: Path) -> None:
    results = Results().with_student("s1").with_student("s2").with_evaluation("e1").with_assistant("a1")
    record_results(tmp_path, results)
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "students": ["s1", "s2"], "evaluations": ["e1"], "assistants": ["a1"]
    }  # fmt: skip
    assert read_results(tmp_path) == results
    assert (results.student, results.evaluation) == ("s2", "e1")


def test_what_is_made_again_is_the_latest_and_stands_once() -> None:
    results = Results(students=("s1", "s2", "s3"), evaluations=("e1", "e2"))
    assert results.with_student("s1").students == ("s2", "s3", "s1")
    assert results.with_student("s3").students == ("s1", "s2", "s3")
    assert results.with_evaluation("e1").evaluations == ("e2", "e1")
    assert results.with_student("s4").evaluations == ("e1", "e2")
    assert results.students == ("s1", "s2", "s3")


@pytest.mark.parametrize(
    "content",
    [b"", b'{"students": [', b"[]", b"7", b'{"students": []}', b'{"students": 3, "evaluations": []}', b"\xff\xfe"],
    ids=["empty", "torn", "a list", "a number", "half", "no list", "no text"],
)
def test_a_damaged_list_is_that_of_no_results(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.json").write_bytes(content)
    assert read_results(tmp_path) == Results()


def test_results_that_cannot_be_written_are_reported_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(CacheError, match=r"results\.json|run"):
        record_results(tmp_path / "run", Results())
