"""Label maps as regions of their classes, and run lengths of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from pipeline.classes import DENSEPASS_13, IGNORE, LabelSet
from pipeline.errors import InputError
from pipeline.exchange.regions import class_id_of, class_regions, mask_of_runs, paint_regions, run_lengths
from tests.exchange.label_maps import LABEL_MAPS, MASKS


@given(LABEL_MAPS)
def test_regions_of_a_label_map_paint_it_again(labels_hw: np.ndarray) -> None:
    height, width = labels_hw.shape
    np.testing.assert_array_equal(paint_regions(height, width, class_regions(labels_hw)), labels_hw)


def test_unlabelled_pixels_are_in_no_region() -> None:
    found = {class_id: mask_hw.tolist() for class_id, mask_hw in class_regions(np.array([[0, IGNORE, 3]], np.uint8))}
    assert found == {0: [[True, False, False]], 3: [[False, False, True]]}


def test_later_regions_lie_on_top_and_the_rest_is_unlabelled() -> None:
    left, middle = np.array([[True, True, False, False]]), np.array([[False, True, True, False]])
    assert paint_regions(1, 4, [(3, left), (7, middle)]).tolist() == [[3, 7, 7, IGNORE]]


@given(MASKS)
def test_runs_fill_a_mask(mask_hw: np.ndarray) -> None:
    runs = run_lengths(mask_hw.ravel())
    counts = np.append(0, runs) if mask_hw[0, 0] else runs
    np.testing.assert_array_equal(mask_of_runs(counts, *mask_hw.shape, where="x"), mask_hw)


def test_nothing_has_no_runs() -> None:
    assert run_lengths(np.empty(0, np.bool_)).tolist() == []


@pytest.mark.parametrize("counts", [[], [3], [7], [8, -2], [2**62, 2**62, 2**62, 2**62 + 6]])
def test_runs_that_do_not_fill_their_box_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match="they must sum to those of its box of 3x2"):
        mask_of_runs(np.array(counts, np.int64), 2, 3, "a.png")


def test_classes_are_known_by_their_names_in_upper_or_lower_case() -> None:
    assert class_id_of(" Traffic LIGHT", DENSEPASS_13, "x") == DENSEPASS_13.names.index("traffic light")
    with pytest.raises(InputError, match=r"a\.png has the class 'lava'; densepass13 has road, sidewalk"):
        class_id_of("lava", DENSEPASS_13, "a.png")


def test_a_class_of_exactly_the_name_goes_before_one_of_another_case() -> None:
    names = ("A", "a", "road ")
    labels = LabelSet("mine", names, ((1, 2, 3), (4, 5, 6), (7, 8, 9)), thin=())
    assert [class_id_of(name, labels, "x") for name in names] == [0, 1, 2]
