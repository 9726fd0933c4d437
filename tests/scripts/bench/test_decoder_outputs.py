"""Decoder outputs made up: nested masks, as many good ones as with trained weights, the same again for a seed."""

from __future__ import annotations

import pytest
import torch

from scripts.bench import masks
from scripts.bench.decoder_outputs import NESTED, OBJECTS, PASSING, synthetic_outputs
from scripts.bench.sams import equal_masks, fixed_output_sam

POINTS = 3


def test_outputs_that_reach_over_the_frame_have_boxes_that_do() -> None:
    sam = fixed_output_sam(synthetic_outputs(POINTS, 32, full_frame=True), 128)
    image = masks.noise_picture(128)
    found = masks.our_masks_alone(sam, POINTS, image)()
    assert equal_masks(masks.stock_masks_alone(sam, POINTS, image)(), found)
    for box in found.boxes_M4.tolist():
        assert box == [0, 0, 128, 128]


def test_outputs_of_a_seed_are_the_same_and_those_of_another_are_not() -> None:
    first, again, other = (synthetic_outputs(4, 16, seed=seed) for seed in (0, 0, 1))
    every = torch.arange(16)
    assert torch.equal(first.all_logits(every), again.all_logits(every))
    assert torch.equal(first.predicted_iou_P3, again.predicted_iou_P3)
    assert not torch.equal(first.all_logits(every), other.all_logits(every))


def test_masks_of_a_prompt_are_chosen_from_all_of_its() -> None:
    outputs = synthetic_outputs(4, 16)
    prompts, masks_K = torch.tensor([3, 0, 15]), torch.tensor([1, 2, 0])
    expected = outputs.all_logits(prompts)[torch.arange(3), masks_K]
    assert torch.equal(outputs.logits(prompts, masks_K), expected) and expected.shape == (3, 16, 16)


def test_part_whole_and_surroundings_lie_in_each_other() -> None:
    shapes = synthetic_outputs(2, 32).shapes_O3hw > 0
    assert shapes.shape == (OBJECTS, len(NESTED), 32, 32)
    assert (shapes[:, 0] <= shapes[:, 1]).all() and (shapes[:, 1] <= shapes[:, 2]).all()
    areas = shapes.sum(dim=(2, 3))
    assert (areas[:, 2] > areas[:, 0]).all()


def test_a_prompt_gets_the_masks_of_an_object_near_it() -> None:
    outputs = synthetic_outputs(16, 64)
    points = torch.cartesian_prod((torch.arange(16) + 0.5) * 4, (torch.arange(16) + 0.5) * 4)
    surroundings = outputs.all_logits(torch.arange(256))[:, 2] > 0
    y, x = points.long().T
    inside = surroundings[torch.arange(256), y, x].float().mean()
    assert inside > 0.8


def test_the_share_of_masks_above_the_stock_threshold_is_as_told() -> None:
    iou_P3 = synthetic_outputs(32, 8).predicted_iou_P3
    assert float((iou_P3 > 0.88).float().mean()) == pytest.approx(PASSING, abs=0.03)
    assert float(iou_P3.min()) >= 0 and float(iou_P3.max()) <= 1


def test_edges_are_as_steep_as_asked_for() -> None:
    soft, steep = (synthetic_outputs(2, 64, steepness=steepness).shapes_O3hw for steepness in (1.0, 2.0))
    near = (soft.abs() < 5) & (steep.abs() < 10)
    torch.testing.assert_close(steep[near], 2 * soft[near])
