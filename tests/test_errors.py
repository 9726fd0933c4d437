"""Errors for people: one sentence each, which survives the way from another process."""

from __future__ import annotations

import pickle

import pytest

from pipeline.errors import GoodSAMError, InputError, first_few, first_line


def test_an_error_is_one_message_of_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = InputError("a.jpg is 2x1", "a panorama is larger", "Export it again")
    assert str(error) == "a.jpg is 2x1; a panorama is larger. Export it again."
    assert isinstance(error, GoodSAMError)


def test_an_error_comes_back_from_another_process_as_it_was() -> None:
    error = pickle.loads(pickle.dumps(InputError("found", "expected", "Remedy")))
    assert type(error) is InputError and (error.found, error.expected, error.remedy) == ("found", "expected", "Remedy")


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("one.\ntwo"), "one"), (ValueError(""), "ValueError"), (OSError("x" * 300), "x" * 200)],
    ids=["lines", "empty", "long"],
)
def test_the_message_of_another_library_fits_a_sentence(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize(("count", "text"), [(0, ""), (3, "0, 1, 2"), (4, "0, 1, 2, ...")])
def test_the_first_few_names_are_listed(count: int, text: str) -> None:
    assert first_few(range(count)) == text
