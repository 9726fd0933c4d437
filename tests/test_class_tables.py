"""Colours of label sets, and merges of labels and probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.class_tables import colour_table, merge_probabilities, merge_table
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE, LABEL_SETS, LabelSet
from pipeline.errors import RecipeError
from pipeline.known_classes import MERGES


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


@pytest.mark.parametrize("source", ["synpass22", "stanford13", "nyu40", "cityscapes34", "mapillary26"])
def test_ids_merge_by_a_table_and_ids_without_a_class_are_ignored(source: str) -> None:
    (target,) = {into for own, into in MERGES if own == source} - {"cityscapes19"}
    table = merge_table(LABEL_SETS[source], LABEL_SETS[target])
    count = len(LABEL_SETS[source])
    assert tuple(table[:count].tolist()) == MERGES[source, target] and (table[count:] == IGNORE).all()
    assert len(set(LABEL_SETS[source].palette)) == count


def test_sets_without_a_known_merge_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"labels of nyu40 cannot be merged into densepass13.*nyu40 -> stanford8"):
        merge_table(LABEL_SETS["nyu40"], DENSEPASS_13)
