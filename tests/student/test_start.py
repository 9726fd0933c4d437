"""Rows of a classifier that a student can reuse, by the names of the classes."""

from __future__ import annotations

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13
from pipeline.student.start import note_of_rows, rows_by_class, same_classes


def test_classes_are_the_same_whatever_their_case_and_unnamed_ones_by_their_number() -> None:
    assert same_classes(("Road", "sky "), ("road", "Sky"))
    assert not same_classes(("sky", "road"), ("road", "sky"))
    assert same_classes(("LABEL_0", "LABEL_1"), ("road", "sky"))
    assert not same_classes(("LABEL_0",), ("road", "sky"))


def test_rows_follow_names_in_any_order() -> None:
    assert rows_by_class(("sky", "Road", "pole"), ("road", "sky", "car")) == (1, 0, None)


def test_the_first_of_two_rows_of_one_name_is_taken() -> None:
    assert rows_by_class(("road", "ROAD"), ("road",)) == (0,)


def test_classes_that_a_known_merge_joins_share_a_row() -> None:
    rows = dict(zip(CITYSCAPES_19.names, rows_by_class(DENSEPASS_13.names, CITYSCAPES_19.names), strict=True))
    person, car = DENSEPASS_13.names.index("person"), DENSEPASS_13.names.index("car")
    assert rows["rider"] == rows["person"] == person
    assert rows["truck"] == rows["car"] == car


def test_the_note_counts_known_classes_and_names_the_others() -> None:
    rows = rows_by_class(("sky", "person"), ("sky", "person", "tree"))
    note = note_of_rows(("sky", "person"), ("sky", "person", "tree"), rows)
    assert (
        note
        == "the student's initial weights have 2 of the 3 classes, by name or merge; starting from random weights: tree"
    )


def test_the_note_names_a_dozen_classes_and_counts_the_rest() -> None:
    wanted = tuple(f"class {number}" for number in range(20))
    note = note_of_rows((), wanted, (None,) * 20)
    assert "class 11 and 8 more" in note and "class 12" not in note
