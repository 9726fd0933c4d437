"""Masks as boxes and bitmaps, and as run lengths: nothing is lost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.teacher.masks import MaskSet, decode_runs, encode_runs

DENSE = arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)))


def _decoded(masks: MaskSet) -> MaskSet:
    return decode_runs(
        *encode_runs(masks), masks.boxes_M4, masks.predicted_iou_M, masks.stability_M, masks.height, masks.width
    )


@given(DENSE)
def test_dense_masks_survive_boxes_and_run_lengths(dense: npt.NDArray[np.bool_]) -> None:
    masks = MaskSet.from_dense(dense)
    np.testing.assert_array_equal(masks.dense(), dense)
    np.testing.assert_array_equal(_decoded(masks).dense(), dense)
    np.testing.assert_array_equal(masks.areas(), dense.sum(axis=(1, 2)))


@given(DENSE)
def test_boxes_are_tight(dense: npt.NDArray[np.bool_]) -> None:
    for mask, (y0, x0, y1, x1) in zip(dense, MaskSet.from_dense(dense).boxes_M4, strict=True):
        ys, xs = np.nonzero(mask)
        assert (y0, x0, y1, x1) == ((ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) if len(ys) else (0, 0, 0, 0))


def test_filtering_takes_flags_or_an_order() -> None:
    dense = np.stack([np.eye(4, dtype=bool), np.ones((4, 4), bool), np.tri(4, dtype=bool)])
    masks = MaskSet.from_dense(dense, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    np.testing.assert_array_equal(masks.filter(np.array([True, False, True])).dense(), dense[[0, 2]])
    reordered = masks.filter(np.array([2, 0]))
    np.testing.assert_array_equal(reordered.dense(), dense[[2, 0]])
    np.testing.assert_allclose(reordered.predicted_iou_M, [0.3, 0.1])


def test_runs_that_do_not_fill_their_box_are_refused() -> None:
    masks = MaskSet.from_dense(np.ones((1, 3, 3), bool))
    runs, counts = encode_runs(masks)
    with pytest.raises(ValueError, match="cannot fill"):
        decode_runs(runs[:-1], counts - 1, masks.boxes_M4, masks.predicted_iou_M, masks.stability_M, 3, 3)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_bitmaps_of_any_type_are_inside_where_not_zero(kind: type[np.generic]) -> None:
    """pycocotools and OpenCV give uint8, of 0 and 1 or of 0 and 255."""
    flags = np.array([[[0, 1], [1, 1]], [[1, 0], [0, 0]]], bool)
    masks = MaskSet.from_dense((200 * flags).astype(kind))
    assert all(bitmap.dtype == np.bool_ for bitmap in masks.bitmaps)
    np.testing.assert_array_equal(masks.dense(), flags)


def test_bitmaps_that_are_no_list_of_masks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[M, h, w\]"):
        MaskSet.from_dense(np.ones((3, 3), bool))
    with pytest.raises(ValueError, match="1 masks have one each"):
        MaskSet.from_dense(np.ones((1, 3, 3), bool), [0.9, 0.8])
