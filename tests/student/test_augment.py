from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.student.augment import Augmentation, draw_augmentation, jitter_colours, take_columns, transform
from pipeline.student.config import DistillConfig, LossConfig
from pipeline.student.data import collate
from pipeline.student.losses import FeatureProjections, mka_losses, total
from pipeline.student.model import StudentOutput, normalise, to_unit
from pipeline.student.pooling import PooledSample, pool
from pipeline.student.targets import make_targets
from tests.student.toy import TOY, WIDTH, toy_sample

CONFIG = DistillConfig()


def test_draws_depend_on_seed_step_and_index_alone() -> None:
    draws = {key: draw_augmentation(CONFIG, 1024, *key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    assert len(set(draws.values())) == len(draws)
    np.random.default_rng(0).random(100)
    assert all(draw_augmentation(CONFIG, 1024, *key) == drawn for key, drawn in draws.items())


def test_rolls_and_crops_are_multiples_of_32_and_reach_every_start() -> None:
    config = dataclasses.replace(CONFIG, crop_width=96, yaw_roll=False)
    draws = [draw_augmentation(config, 256, 0, step, 0) for step in range(200)]
    assert {d.start for d in draws} == set(range(0, 256, 32))
    assert {d.width for d in draws} == {96}
    assert {d.mirror for d in draws} == {False, True}


def test_a_crop_as_wide_as_the_panorama_or_wider_is_the_whole() -> None:
    for crop_width in (256, 512):
        config = dataclasses.replace(CONFIG, crop_width=crop_width)
        draws = [draw_augmentation(config, 256, 0, step, 0) for step in range(20)]
        assert draws == [draw_augmentation(CONFIG, 256, 0, step, 0) for step in range(20)]
        assert {d.width for d in draws} == {256}


def test_switched_off_augmentations_change_nothing() -> None:
    config = DistillConfig(yaw_roll=False, mirror=False, colour_jitter=0.0)
    draws = {draw_augmentation(config, 256, 0, step, 0) for step in range(20)}
    assert draws == {Augmentation(start=0, width=256)}


def test_taken_columns_continue_over_the_seam() -> None:
    array = np.arange(24).reshape(2, 12)
    for start in range(-12, 24):
        np.testing.assert_array_equal(take_columns(array, start, 7), np.roll(array, -start, axis=1)[:, :7])


def test_image_and_targets_stay_aligned() -> None:
    sample = pool(toy_sample(3), 1)
    moved = transform(sample, Augmentation(start=32, width=WIDTH, mirror=True))
    expected = np.roll(np.arange(WIDTH), -32)[::-1]
    np.testing.assert_array_equal(moved.image_HW3, sample.image_HW3[:, expected])
    for name in ("assistant_Chw", "ensemble_Chw", "reliable_hw", "valid_hw"):
        np.testing.assert_array_equal(moved.maps[name], sample.maps[name][..., expected])
    for name in ("boundary_hw", "boundary_valid_hw"):
        np.testing.assert_array_equal(moved.maps[name], np.roll(sample.maps[name], -8, axis=-1)[..., ::-1])
    np.testing.assert_array_equal(moved.features[1], np.roll(sample.features[1], -8, axis=-1)[..., ::-1])
    np.testing.assert_array_equal(moved.features[4], np.roll(sample.features[4], -1, axis=-1)[..., ::-1])


def test_features_that_cannot_follow_are_refused() -> None:
    sample = dataclasses.replace(pool(toy_sample(0), 1), features={1: np.zeros((4, 8, 15), np.float16)})
    with pytest.raises(ValueError, match=r"\(4, 8, 15\)"):
        transform(sample, Augmentation(start=32, width=WIDTH))


class CircularToy(nn.Module):
    """Two convolutions of stride 2 whose columns wrap: they follow every roll by 4 columns exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, len(TOY), 3, stride=2)])

    def forward(self, x: torch.Tensor) -> StudentOutput:
        for layer in self.layers:
            x = torch.cat((x[..., -1:], x, x[..., :1]), dim=-1)
            x = layer(nn.functional.pad(x, (0, 0, 1, 1))).tanh()
        return StudentOutput(x, ())


@pytest.mark.parametrize("stride", [1, 4])
def test_losses_of_a_circular_network_do_not_change_with_the_yaw(stride: int) -> None:
    torch.manual_seed(0)
    toy, config = CircularToy(), LossConfig(features=0, stride=stride)

    @torch.no_grad()
    def loss(sample: PooledSample, augmentation: Augmentation) -> float:
        batch = collate([sample], [augmentation])
        output = toy(normalise(to_unit(batch.image_BHW3)))
        projections = FeatureProjections([], {})
        return float(total(mka_losses(output, make_targets(batch), projections, config, batch.whole), config))

    sample = pool(toy_sample(1), stride)
    still, turned = (loss(sample, Augmentation(start=start, width=WIDTH)) for start in (0, 32))
    assert turned == pytest.approx(still, rel=1e-5)
    misaligned = dataclasses.replace(sample, image_HW3=np.roll(sample.image_HW3, 32, axis=1))
    assert loss(misaligned, Augmentation(start=0, width=WIDTH)) != pytest.approx(still, rel=1e-3)


def test_colour_factors_of_one_change_nothing_and_others_do_what_they_say() -> None:
    images = torch.rand(4, 3, 6, 8) * 0.4 + 0.1
    factors = torch.tensor([[1, 1, 1], [2, 1, 1], [1, 0.5, 1], [1, 1, 0]], dtype=torch.float32)
    changed = jitter_colours(images, factors)
    torch.testing.assert_close(changed[0], images[0])
    torch.testing.assert_close(changed[1], images[1] * 2)
    torch.testing.assert_close(changed[2].std(), images[2].std() / 2, rtol=0.05, atol=0)
    torch.testing.assert_close(changed[3].amax(0), changed[3].amin(0))
