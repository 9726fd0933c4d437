"""The codec keeps what training needs. Legend: C classes, D feature channels, H W panorama, h w feature map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.cache.codec import (
    CHANNEL8,
    PLAIN,
    SQRT8,
    decode_features,
    decode_probabilities,
    decode_unit,
    encode_features,
    encode_probabilities,
    encode_unit,
    encoding_of,
)


def soft_field(classes: int, sharpness: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Softmax of noise, [C, 96, 160]: from undecided (sharpness 1) to confident (8)."""
    logits_CHW = np.random.default_rng(seed).normal(size=(classes, 96, 160)) * sharpness
    odds_CHW = np.exp(logits_CHW - logits_CHW.max(axis=0))
    return (odds_CHW / odds_CHW.sum(axis=0)).astype(np.float32)


@pytest.mark.parametrize("classes", [13, 19])
@pytest.mark.parametrize("sharpness", [3.0, 5.0, 8.0])
def test_rounding_costs_no_more_than_a_few_ten_thousandths_of_kl_and_two_per_mille_of_labels(
    classes: int, sharpness: float
) -> None:
    p_CHW = soft_field(classes, sharpness)
    stored_CHW = encode_probabilities(p_CHW)
    decoded_CHW = np.maximum(decode_probabilities(stored_CHW), (0.5 / 255) ** 2)  # smaller ones are stored as 0
    kl_HW = (p_CHW * (np.log(np.maximum(p_CHW, 1e-30)) - np.log(decoded_CHW))).sum(axis=0)
    changed_HW = decode_probabilities(stored_CHW).argmax(axis=0) != p_CHW.argmax(axis=0)
    assert 0 <= kl_HW.mean() <= 3e-4
    assert changed_HW.mean() <= 2e-3


def test_a_changed_label_was_a_tie_within_a_step() -> None:
    p_CHW = soft_field(19, 1.0)
    root_CHW = np.sqrt(p_CHW)
    decoded_HW = decode_probabilities(encode_probabilities(p_CHW)).argmax(axis=0)
    lost_HW = root_CHW.max(axis=0) - np.take_along_axis(root_CHW, decoded_HW[None], axis=0)[0]
    assert lost_HW.max() <= 1 / 255 + 1e-6


@settings(max_examples=60)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)))
def test_any_bytes_decode_to_finite_normalised_probabilities(stored_CHW: npt.NDArray[np.uint8]) -> None:
    p_CHW = decode_probabilities(stored_CHW)
    np.testing.assert_allclose(p_CHW.sum(axis=0), 1, rtol=1e-5)
    assert p_CHW.dtype == np.float32
    assert p_CHW.min() >= 0


def test_certainty_survives_exactly() -> None:
    one_hot_CHW = np.eye(5, dtype=np.float32)[:, :, None]
    np.testing.assert_array_equal(decode_probabilities(encode_probabilities(one_hot_CHW)), one_hot_CHW)


@pytest.mark.parametrize("wrong", [-3.0, 1.5, np.nan, np.inf])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    p_CHW = np.full((2, 3, 3), 0.5, np.float32)
    p_CHW[0, 1, 1] = wrong
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        encode_probabilities(p_CHW)


def test_a_rounding_error_beyond_one_is_no_mistake_and_the_input_is_left_alone() -> None:
    p_CHW = np.array([1.00001, -0.00001], np.float32).reshape(2, 1, 1)
    before_CHW = p_CHW.copy()
    np.testing.assert_array_equal(encode_probabilities(p_CHW).ravel(), [255, 0])
    np.testing.assert_array_equal(p_CHW, before_CHW)


@settings(max_examples=60)
@given(hnp.arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)))
def test_agreement_is_off_by_at_most_half_a_step(agreement_HW: npt.NDArray[np.float32]) -> None:
    error_HW = np.abs(decode_unit(encode_unit(agreement_HW)) - agreement_HW)
    assert error_HW.max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_features_keep_their_direction_though_channels_differ_in_size(dtype: type[np.floating]) -> None:
    random = np.random.default_rng(0)
    size_D = 10 ** random.uniform(-2, 2, size=64)
    features_Dhw = (random.normal(size=(64, 16, 32)) * size_D[:, None, None]).astype(dtype)
    stored_Dhw, scale_D = encode_features(features_Dhw)
    back_Dhw = decode_features(stored_Dhw, scale_D)
    wanted_Dhw = features_Dhw.astype(np.float64)
    norms = np.linalg.norm(wanted_Dhw, axis=(1, 2)) * np.linalg.norm(back_Dhw, axis=(1, 2))
    assert stored_Dhw.dtype == np.int8
    assert ((wanted_Dhw * back_Dhw).sum(axis=(1, 2)) / norms).min() > 0.999
    assert (np.abs(back_Dhw - wanted_Dhw) <= scale_D[:, None, None] * 0.501).all()


def test_a_silent_channel_stays_silent() -> None:
    stored_Dhw, scale_D = encode_features(np.zeros((2, 3, 4), np.float16))
    np.testing.assert_array_equal(decode_features(stored_Dhw, scale_D), 0)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        encode_features(np.full((2, 3, 4), np.nan, np.float32))


def test_every_array_says_how_it_is_encoded() -> None:
    assert encoding_of("ensemble_probabilities", np.dtype(np.uint8)) == SQRT8
    assert encoding_of("features_2", np.dtype(np.int8)) == CHANNEL8
    assert encoding_of("features_2", np.dtype(np.float16)) == PLAIN
    assert encoding_of("runs", np.dtype(np.uint32)) == PLAIN
