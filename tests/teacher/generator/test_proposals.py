"""The stock generator's records from boxes and bitmaps."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from segment_anything.utils.amg import area_from_rle, mask_to_rle_pytorch, rle_to_mask

from pipeline.errors import RecipeError
from pipeline.teacher.generator.proposals import Proposals, stock_records
from pipeline.teacher.masks import MaskSet


def proposed(masks_Mhw: npt.NDArray[np.bool_]) -> Proposals:
    masks = MaskSet.from_dense(masks_Mhw)
    return Proposals(masks, np.zeros((len(masks), 2)), np.zeros((len(masks), 4), np.int64))


def scene(seed: int, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Nothing, everything, one pixel, full columns, full rows, noise in a part."""
    rng = np.random.default_rng(seed)
    masks_Mhw = np.zeros((6, height, width), np.bool_)
    y, x = rng.integers(height), rng.integers(width)
    masks_Mhw[1] = True
    masks_Mhw[2, y, x] = True
    masks_Mhw[3, :, x:] = True
    masks_Mhw[4, y:] = True
    masks_Mhw[5, y:, : x + 1] = rng.random((height - y, x + 1)) < 0.5
    return masks_Mhw


@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 20))
def test_run_lengths_are_those_of_the_whole_masks(seed: int, height: int, width: int) -> None:
    masks_Mhw = scene(seed, height, width)
    records = stock_records(proposed(masks_Mhw), "uncompressed_rle")
    expected = mask_to_rle_pytorch(torch.from_numpy(masks_Mhw))
    assert [record["segmentation"] for record in records] == expected
    assert [record["area"] for record in records] == [area_from_rle(own) for own in expected]


def test_packed_run_lengths_are_read_by_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="no pycocotools: its packed run lengths are not checked")
    masks_Mhw = scene(0, 17, 12)
    records = stock_records(proposed(masks_Mhw), "coco_rle")
    for record, mask_hw in zip(records, masks_Mhw, strict=True):
        assert isinstance(record["segmentation"]["counts"], str)  # as JSON wants it
        np.testing.assert_array_equal(coco.decode(record["segmentation"]), mask_hw)


def test_without_pycocotools_or_with_another_mode_one_sentence_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    nothing = proposed(np.zeros((0, 4, 4), np.bool_))
    assert stock_records(nothing, "uncompressed_rle") == []
    with pytest.raises(RecipeError, match="needs pycocotools, which is not installed"):
        stock_records(nothing, "coco_rle")
    with pytest.raises(RecipeError, match="output_mode is 'rle'"):
        stock_records(nothing, "rle")


def test_masks_are_arrays_by_default() -> None:
    masks_Mhw = scene(1, 9, 8)
    for record, run, mask_hw in zip(
        stock_records(proposed(masks_Mhw)),
        stock_records(proposed(masks_Mhw), "uncompressed_rle"),
        masks_Mhw,
        strict=True,
    ):
        np.testing.assert_array_equal(record["segmentation"], mask_hw)
        np.testing.assert_array_equal(rle_to_mask(run["segmentation"]), mask_hw)
