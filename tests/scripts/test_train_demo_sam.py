"""Training of the demo SAM: what it is asked, what it is told, and how it is measured."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from pipeline.teacher.demo_sam import CHANNELS, PATCH, SIZE, build_demo_sam
from pipeline.teacher.masks import MaskSet
from scripts.demo_data import Batch, render_windows
from scripts.demo_sam_examples import POINTS, make_example, region_around
from scripts.demo_sam_network import LOW, SamWithAuxiliaryHead, mask_losses, speed_up_global_attention
from scripts.evaluate_demo_sam import Score, achievable, mean_score, segments_of
from scripts.train_demo_sam import (
    Schedule,
    average_gradients,
    draw_examples,
    save_weights,
    seconds_of_first,
    start,
    train_step,
)


@pytest.fixture(scope="module")
def windows() -> Batch:
    return render_windows([100_000], per_scene=1, panorama_height=256)


def test_a_pole_in_front_does_not_part_a_facade_but_a_wide_gap_does() -> None:
    ids = np.zeros((20, 30), np.int32)
    ids[:, 10:13] = 1
    assert region_around(ids, 5, 2).sum() == 20 * 27
    ids[:, 10:18] = 1
    assert region_around(ids, 5, 2).sum() == 20 * 10


def test_the_masks_around_a_point_hold_it_and_are_nested(windows: Batch) -> None:
    example = make_example(windows, 0, np.random.default_rng(0))
    part, whole, region = np.moveaxis(example.masks_NLHW, 1, 0).astype(bool)
    assert len(part) == POINTS
    assert not (part & ~whole).any()
    assert not (whole & ~region).any()
    for mask, (x, y) in zip(part, example.points_N2, strict=True):
        assert mask[int(y), int(x)]


def test_the_training_attention_is_sams_own() -> None:
    torch.manual_seed(0)
    stock = build_demo_sam().image_encoder
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    folded = copy.deepcopy(stock)
    sam = build_demo_sam()
    sam.image_encoder = folded
    speed_up_global_attention(sam)
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), stock(x), atol=2e-5, rtol=1e-4)


def test_the_mask_loss_is_least_for_the_mask_itself() -> None:
    target = torch.zeros(1, 1, 24, 24)
    target[..., 4:9, 4:9] = 1
    right = mask_losses(20 * target - 10, target)
    for wrong in (torch.full_like(target, -10), torch.full_like(target, 10), 20 * target.roll(2, -1) - 10):
        assert (mask_losses(wrong, target) > right + 0.1).all()
    assert right < 0.01


@pytest.mark.slow
def test_a_step_changes_encoder_and_decoder_and_the_average_follows(windows: Batch) -> None:
    schedule = Schedule(minutes=1, batch_size=1)
    state = start(schedule)
    before = copy.deepcopy(state.trainee.sam.state_dict())
    losses = train_step(state, draw_examples(windows, 1, np.random.default_rng(0)), schedule)
    assert all(np.isfinite(value) for value in losses.values())
    after, average = state.trainee.sam.state_dict(), state.average.sam.state_dict()
    for name in ("image_encoder.blocks.0.attn.qkv.weight", "mask_decoder.iou_prediction_head.layers.0.weight"):
        assert not torch.equal(before[name], after[name])
        assert not torch.equal(before[name], average[name])


def test_points_of_several_images_are_answered_as_sams_decoder_answers_them_one_by_one() -> None:
    torch.manual_seed(0)
    trainee = SamWithAuxiliaryHead()
    embeddings = torch.randn(2, CHANNELS, SIZE // PATCH, SIZE // PATCH)
    points = torch.tensor([[[3.5, 250.5], [100.0, 20.0]], [[0.5, 0.5], [200.0, 130.0]]])
    encoder = trainee.sam.prompt_encoder
    with torch.no_grad():
        logits, iou = trainee.predict_masks(embeddings, points)
        for k in range(2):
            sparse, dense = encoder((points[k][:, None], torch.ones(2, 1, dtype=torch.int)), None, None)
            expected = trainee.sam.mask_decoder.predict_masks(
                embeddings[k : k + 1], encoder.get_dense_pe(), sparse, dense
            )
            torch.testing.assert_close((logits[k], iou[k]), expected, atol=1e-4, rtol=1e-4)
    assert logits.shape == (2, 2, 4, LOW, LOW)


def test_a_pixel_belongs_to_the_smallest_mask_over_it_and_a_segment_to_its_majority() -> None:
    large, small = np.zeros((2, 4, 4), bool)
    large[:, :3] = True
    small[:2, :2] = True
    segments = segments_of(MaskSet.from_dense(np.stack([large, small])))
    np.testing.assert_array_equal(segments[0], [1, 1, 0, -1])
    labels = np.zeros((4, 4), int)
    labels[0, 0] = 7  # one of four pixels of the small segment
    labels[3, :] = -1  # not labelled
    coverage, accuracy = achievable(segments, labels)
    assert coverage == pytest.approx(9 / 12)
    assert accuracy == pytest.approx(8 / 9)
    nothing = achievable(np.full((4, 4), -1, np.int32), labels)
    assert nothing[0] == 0
    assert np.isnan(nothing[1])
    assert mean_score([Score(1, 0.8, 0.9, 0.72, 1), Score(0, *nothing, 0, 1)]) == Score(0.5, 0.4, 0.9, 0.36, 1)


def test_a_training_begins_with_published_weights(tmp_path: Path) -> None:
    published, fresh = start(Schedule(minutes=1)), start(Schedule(minutes=1))
    for parameter in published.average.sam.parameters():
        torch.nn.init.normal_(parameter)
    save_weights(published.average, tmp_path / "sam.pth")
    fresh.begin_with(tmp_path / "sam.pth")
    for network in (fresh.trainee, fresh.average):
        for mine, theirs in zip(network.sam.parameters(), published.average.sam.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_training_continues_from_its_checkpoint_or_refines_it(tmp_path: Path) -> None:
    before = start(Schedule(minutes=1))
    for parameter in before.average.parameters():
        parameter.normal_()
    before.step, before.seconds = 7, 30.0
    before.save(tmp_path / "checkpoint.pt")

    killed = start(Schedule(minutes=1))
    killed.load(tmp_path / "checkpoint.pt")
    assert (killed.step, killed.seconds) == (7, 30.0)
    refined = start(Schedule(minutes=1, muon_rate=1e-4, learning_rate=1e-5))
    refined.begin_with(tmp_path / "checkpoint.pt")
    assert (refined.step, refined.seconds) == (0, 0.0)
    assert [group["peak"] for o in refined.optimisers for group in o.param_groups] == [1e-4, 1e-5]
    for network, origin in (
        (killed.trainee, before.trainee), (killed.average, before.average),
        (refined.trainee, before.average), (refined.average, before.average),
    ):  # fmt: skip
        for mine, theirs in zip(network.parameters(), origin.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_processes_share_their_gradients_and_the_first_ones_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process, played here, has gradients of 2 and a clock that the first one's replaces."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.add_(2))
    monkeypatch.setattr(dist, "broadcast", lambda clock, source: clock.fill_(10 + source))
    network = torch.nn.Linear(2, 1)
    network(torch.ones(1, 2)).sum().backward()
    average_gradients(network)
    for parameter in network.parameters():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 1.5))
    assert seconds_of_first(11.0) == 10


def test_a_process_alone_keeps_its_gradients_and_its_clock() -> None:
    network = torch.nn.Linear(2, 1)
    network(torch.ones(1, 2)).sum().backward()
    average_gradients(network)
    torch.testing.assert_close(network.weight.grad, torch.ones(1, 2))
    assert seconds_of_first(3.0) == 3
