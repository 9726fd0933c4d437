"""Pooled targets, against brute force and against pooling after the augmentation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.cache.codec import decode_probabilities
from pipeline.student.augment import Augmentation, transform
from pipeline.student.config import LossConfig
from pipeline.student.data import TrainingBatch, collate
from pipeline.student.losses import FeatureProjections, mka_losses
from pipeline.student.model import StudentOutput
from pipeline.student.pooling import decode, pool, pool_codes
from pipeline.student.sample import PanoramaSample
from pipeline.student.targets import MkaTargets, make_targets

CLASSES = 5
CODE = 1 / 255
"""By how much sqrt(p) may be off that has been a code twice, at most: half a step, and what normalising adds."""


def noise(height: int, width: int) -> PanoramaSample:
    """Independent pixels everywhere."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 256, (2, CLASSES, height, width), dtype=np.uint8)
    flags = rng.random((3, height, width)) < 0.4
    return PanoramaSample(np.zeros((height, width, 3), np.uint8), codes[0], codes[1], *flags, features={})


def batch_of(sample: PanoramaSample, stride: int) -> TrainingBatch:
    pooled = pool(sample, stride)
    return collate([pooled], [Augmentation(start=0, width=pooled.width)])


def targets_of(sample: PanoramaSample, stride: int) -> MkaTargets:
    return make_targets(batch_of(sample, stride))


def test_decoded_codes_are_what_the_store_decodes() -> None:
    codes = np.random.default_rng(2).integers(0, 256, (CLASSES, 4, 5), dtype=np.uint8)
    np.testing.assert_allclose(decode(torch.from_numpy(codes)[None])[0], decode_probabilities(codes), atol=1e-6)


def test_pooled_targets_are_means_of_valid_pixels_only() -> None:
    sample = noise(8, 12)
    targets, valid_HW = targets_of(sample, stride=4), ~sample.ignored_HW
    for row, column in np.ndindex(2, 3):
        block = (slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        for codes_CHW, found in (
            (sample.assistant_CHW, targets.assistant_BChw),
            (sample.ensemble_CHW, targets.ensemble_BChw),
        ):
            mean_C = decode_probabilities(codes_CHW)[:, *block][:, valid_HW[block]].mean(1)
            np.testing.assert_allclose(found[0, :, row, column].sqrt(), np.sqrt(mean_C), atol=CODE)
        assert targets.valid_Bhw[0, row, column] == valid_HW[block].mean()
        assert targets.reliable_Bhw[0, row, column] == (sample.reliable_HW[block] & valid_HW[block]).mean()
        assert targets.boundary_Bhw[0, row, column] == (sample.boundary_HW[block] & valid_HW[block]).any()
        assert targets.boundary_valid_Bhw[0, row, column] == valid_HW[block].mean()


def test_at_a_stride_of_one_nothing_is_rounded() -> None:
    sample = noise(8, 12)
    targets, valid_HW = targets_of(sample, stride=1), ~sample.ignored_HW
    expected_CHW = decode_probabilities(sample.ensemble_CHW) * valid_HW
    np.testing.assert_allclose(targets.ensemble_BChw[0], expected_CHW, atol=1e-6)
    np.testing.assert_array_equal(targets.valid_Bhw[0], valid_HW)
    np.testing.assert_array_equal(targets.reliable_Bhw[0], sample.reliable_HW & valid_HW)
    assert targets.boundary_Bhw.shape == (1, 2, 3)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_squares_without_a_valid_pixel_say_nothing(stride: int) -> None:
    sample = noise(8, 12)
    ignored_HW = sample.ignored_HW.copy()
    ignored_HW[:4, :4] = True
    targets = targets_of(dataclasses.replace(sample, ignored_HW=ignored_HW), stride)
    corner = slice(0, 4 // stride)
    assert not targets.ensemble_BChw[0, :, corner, corner].any()
    assert not targets.valid_Bhw[0, corner, corner].any()
    sums_hw = targets.ensemble_BChw[0].sum(0)
    torch.testing.assert_close(sums_hw, (targets.valid_Bhw[0] > 0).float())


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("mirror", [False, True])
def test_pooling_before_an_augmentation_is_pooling_after_it(stride: int, mirror: bool) -> None:
    sample = noise(10, 96)
    moved = transform(pool(sample, stride), Augmentation(start=32, width=64, mirror=mirror))
    columns = np.roll(np.arange(96), -32)[:64][:: -1 if mirror else 1]
    fields = {name: getattr(sample, name)[..., columns] for name in
              ("assistant_CHW", "ensemble_CHW", "reliable_HW", "boundary_HW", "ignored_HW")}  # fmt: skip
    after = pool(PanoramaSample(sample.image_HW3[:, columns], **fields, features={}), stride)
    for name, expected in after.maps.items():
        np.testing.assert_array_equal(moved.maps[name], expected, err_msg=name)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_rows_beyond_the_panorama_have_no_weight(stride: int) -> None:
    sample = noise(10, 12)
    targets = targets_of(sample, stride)
    assert targets.valid_Bhw.shape == (1, -(-10 // stride), 12 // stride)
    assert float(targets.valid_Bhw.sum()) * stride**2 == pytest.approx(float((~sample.ignored_HW).sum()))
    losses = mka_losses(
        StudentOutput(torch.randn(1, CLASSES, 3, 3), ()),
        targets,
        FeatureProjections([], {}),
        LossConfig(features=0),
        wrap=True,
    )
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_certain_codes_stay_certain() -> None:
    codes_CHW = np.zeros((CLASSES, 4, 8), np.uint8)
    codes_CHW[2, :, :4] = codes_CHW[0, :, 4:] = 255
    pooled_Chw = pool_codes(codes_CHW, np.ones((4, 8), bool), 4)
    np.testing.assert_array_equal(pooled_Chw[:, 0], codes_CHW[:, 0, ::4])


def test_a_batch_knows_its_stride() -> None:
    assert [batch_of(noise(8, 32), stride).stride for stride in (1, 2, 4)] == [1, 2, 4]


@pytest.mark.parametrize("stride", [0, 3, 16])
def test_other_strides_are_refused(stride: int) -> None:
    with pytest.raises(ValueError, match="1, 2 or 4"):
        pool(noise(32, 32), stride)
