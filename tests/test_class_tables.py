"""Colours of label sets, and merges of labels and probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.class_tables import colour_table, merge_probabilities, merge_table
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LABEL_SETS, LabelSet


def test_ids_without_a_class_are_black() -> None:
    table = colour_table(DENSEPASS_13)
    assert table.shape == (256, 3)
    assert table[:13].tolist() == [list(colour) for colour in DENSEPASS_13.palette]
    assert not table[13:].any()


def test_probabilities_of_sets_of_the_same_names_stay_as_they_are() -> None:
    one, other = (LabelSet(name, ("wall", "floor"), ((1, 2, 3), (4, 5, 6)), ()) for name in ("one", "other"))
    probabilities = np.array([[0.25], [0.75]])
    np.testing.assert_allclose(merge_probabilities(probabilities, one, other), probabilities)


@pytest.mark.parametrize("count", [13, 21])
def test_probabilities_of_another_number_of_classes_are_not_merged(count: int) -> None:
    with pytest.raises(ValueError, match="cityscapes19 has 19"):
        merge_probabilities(np.full((count, 2, 2), 1 / count, np.float32), CITYSCAPES_19, DENSEPASS_13)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("synpass22", "densepass13", "2 4 - 11 5 0 0 1 8 12 3 7 10 - - - - 6 - - - 9"),
        ("stanford13", "stanford8", "- - - 0 1 - - 2 3 4 5 6 7"),
        ("nyu40", "stanford8", "6 3 - - 1 4 5 2 7 - - - - - - - - - - - - 0 " + "- " * 18),
        (
            "cityscapes34",
            "cityscapes19",
            "- " * 7 + "0 1 - - 2 3 4 - - - 5 - 6 7 8 9 10 11 12 13 14 15 - - 16 17 18",
        ),
        ("mapillary26", "wildpass8", "- - - - 0 1 - - 2 - - 3 4 6 - - - 5 - - - - - - 7 -"),
    ],
)
def test_data_sets_merge_as_their_benchmarks_do(source: str, target: str, expected: str) -> None:
    table = merge_table(LABEL_SETS[source], LABEL_SETS[target])[: len(LABEL_SETS[source])]
    assert [255 if part == "-" else int(part) for part in expected.split()] == table.tolist()
    assert len(set(LABEL_SETS[source].palette)) == len(LABEL_SETS[source])
