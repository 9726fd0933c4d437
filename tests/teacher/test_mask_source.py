"""Mask sources: chosen by a setting, used through one interface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.errors import RecipeError, WeightsError
from pipeline.settings import file_digest
from pipeline.teacher.config import SamConfig
from pipeline.teacher.demo_sam import build_demo_sam
from pipeline.teacher.identity import DEMO_WEIGHTS, mask_source_identity
from pipeline.teacher.mask_source import MaskSource, load_mask_source
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import SamMaskGenerator
from pipeline.teacher.stock_masks import StockMasks

CPU = torch.device("cpu")


def loose(kind: str, checkpoint: str = "") -> SamConfig:
    return SamConfig(
        kind=kind, checkpoint=checkpoint, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.3
    )


@pytest.fixture(scope="module")
def images() -> list[npt.NDArray[np.uint8]]:
    """Coarse pictures of two sizes."""
    rng = np.random.default_rng(3)
    return [
        np.kron(rng.integers(0, 255, (*size, 3)), np.ones((16, 16, 1))).astype(np.uint8) for size in ((8, 8), (5, 7))
    ]


def assert_alike(ours: MaskSet, stock: MaskSet) -> None:
    assert len(ours) == len(stock) > 0
    assert (ours.height, ours.width) == (stock.height, stock.width)
    assert np.count_nonzero(ours.dense() != stock.dense()) <= 4
    np.testing.assert_allclose(ours.predicted_iou_M, stock.predicted_iou_M, atol=1e-4)


def test_the_setting_chooses_and_both_give_the_same_masks(images: list[npt.NDArray[np.uint8]]) -> None:
    ours, stock = (load_mask_source(loose(kind), CPU) for kind in ("sam", "stock"))
    assert isinstance(ours, SamMaskGenerator)
    assert isinstance(stock, StockMasks)
    for one, other in zip(ours.many(images), stock.many(images), strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("kind", ["sam", "stock"])
def test_a_source_is_named_by_its_kind_and_the_content_of_its_weights(kind: str, tmp_path: Path) -> None:
    source = load_mask_source(loose(kind), CPU)
    assert source.identity == mask_source_identity(loose(kind)) == f"{kind} demo sha256:{file_digest(DEMO_WEIGHTS)}"
    torch.save(build_demo_sam().state_dict(), tmp_path / "other.pth")
    assert mask_source_identity(loose(kind, str(tmp_path / "other.pth"))) != source.identity


@pytest.mark.parametrize("kind", ["sam", "stock"])
def test_weights_that_sam_has_no_place_for_are_reported_by_both(kind: str, tmp_path: Path) -> None:
    torch.save(build_demo_sam().state_dict() | {"head.weight": torch.zeros(1)}, tmp_path / "more.pth")
    (note,) = load_mask_source(loose(kind, str(tmp_path / "more.pth")), CPU).notes
    assert "1 weight tensor of the checkpoint ignored, as SAM has no such weights: head.weight" in note


@pytest.mark.parametrize("part", ["iou_prediction_head.layers.2.bias", "output_hypernetworks_mlps.2.layers.2.bias"])
@pytest.mark.parametrize("kind", ["sam", "stock"])
def test_numbers_that_are_none_end_both(
    kind: str, part: str, tmp_path: Path, images: list[npt.NDArray[np.uint8]]
) -> None:
    sam = build_demo_sam()
    with torch.no_grad():
        sam.mask_decoder.get_parameter(part)[-1] = float("inf")
    torch.save(sam.state_dict(), tmp_path / "bad.pth")
    source: MaskSource = load_mask_source(loose(kind, str(tmp_path / "bad.pth")), CPU)
    with pytest.raises(WeightsError, match="SAM outputs NaN or infinity"):
        source.many(images[:1])


def test_the_stock_generator_watches_its_network_only_while_it_works(images: list[npt.NDArray[np.uint8]]) -> None:
    sam = build_demo_sam()
    StockMasks(sam, loose("stock")).many(images[:1])
    assert not sam.mask_decoder._forward_hooks


def test_what_a_source_cannot_do_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match=r"sam\.kind is 'sam2'"):
        loose("sam2")
    with pytest.raises(RecipeError, match=r"sam\.precision is 'bfloat16'"):
        SamConfig(kind="stock", precision="bfloat16")
