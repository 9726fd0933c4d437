"""segment_anything's own generator as a source of masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator

from pipeline.errors import WeightsError
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.stock_masks import StockMasks

LOOSE = SamConfig(kind="stock", points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0)


def window(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_masks_are_the_generators_in_its_order_and_views_may_be_strided() -> None:
    torch.manual_seed(0)
    sam = build_demo_sam()
    records = SamAutomaticMaskGenerator(sam, **LOOSE.generator_settings()).generate(window())
    (found,) = StockMasks(sam, LOOSE).many([window()[:, ::-1][:, ::-1]])
    assert len(found) == len(records) > 0
    np.testing.assert_array_equal(found.dense(), [record["segmentation"] for record in records])
    np.testing.assert_allclose(found.predicted_iou_M, [record["predicted_iou"] for record in records], rtol=1e-6)


def test_no_masks_are_an_empty_set_of_the_windows_size() -> None:
    strict = SamConfig(kind="stock", points_per_side=1, pred_iou_thresh=1.0, stability_score_thresh=1.0)
    found = StockMasks(build_demo_sam(), strict).many([window()])[0]
    assert (len(found), found.height, found.width) == (0, 40, 56)


def test_numbers_that_are_none_are_refused_and_no_hook_stays() -> None:
    sam = build_demo_sam()
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.fill_(float("nan"))
    source = StockMasks(sam, LOOSE)
    with pytest.raises(WeightsError, match="SAM outputs NaN or infinity"):
        source.many([window()])
    assert not sam.mask_decoder._forward_hooks


def test_ignored_weights_are_noted() -> None:
    assert StockMasks(build_demo_sam(), LOOSE).notes == ()
    assert StockMasks(build_demo_sam(), LOOSE, ["a", "b"]).notes == ("a", "b")
