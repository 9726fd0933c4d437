"""Stage one's results as arrays of the store and back: what goes in comes out, within the codec's rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.cache import codec, records
from pipeline.ensemble.compose import Fusion
from pipeline.panorama.windows import Window
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.rectification import AssistantPrediction

HEIGHT, WIDTH = 6, 9
WINDOWS = (Window(0, 0, HEIGHT, WIDTH), Window(0, 5, HEIGHT, WIDTH), Window(0, 10, HEIGHT, WIDTH))
MASKS = arrays(np.bool_, st.tuples(st.integers(0, 3), st.just(HEIGHT), st.just(WIDTH)))


def scored(dense_Mhw: npt.NDArray[np.bool_], first: int = 0) -> MaskSet:
    """Masks with scores that tell them apart."""
    numbers = first + np.arange(len(dense_Mhw))
    return MaskSet.from_dense(dense_Mhw, 0.5 + numbers / 1000, 0.25 + numbers / 1000)


def view(seed: int = 0) -> AssistantPrediction:
    rng = np.random.default_rng(seed)
    raw = rng.random((2, 4, 8, 16)).astype(np.float32)
    whole_CHW, windows_CHW = raw / raw.sum(axis=1, keepdims=True)
    return AssistantPrediction(
        assistant_CHW=windows_CHW,
        whole_CHW=whole_CHW,
        agreement_HW=rng.random((8, 16)).astype(np.float32),
        view_labels_Khw=tuple(rng.integers(0, 4, (3, 8, 8)).astype(np.uint8)),
        features={1: rng.normal(size=(5, 2, 4)).astype(np.float32), 3: rng.normal(size=(7, 1, 1)).astype(np.float32)},
    )


@given(MASKS, MASKS, MASKS)
def test_every_window_gets_its_own_masks_back(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], third: npt.NDArray[np.bool_]
) -> None:
    packed = [scored(dense, 10 * k) for k, dense in enumerate((first, second, third))]
    unpacked = records.unpack_masks(records.pack_masks(packed), WINDOWS)
    assert len(unpacked) == len(WINDOWS)
    for before, after in zip(packed, unpacked, strict=True):
        assert (after.height, after.width) == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(after.dense(), before.dense())
        np.testing.assert_array_equal(after.predicted_iou_M, before.predicted_iou_M)
        np.testing.assert_array_equal(after.stability_M, before.stability_M)


def test_prompts_and_what_was_measured_when_they_moved_are_stored_with_the_masks() -> None:
    masks = [scored(np.ones((count, HEIGHT, WIDTH), np.bool_), 10 * count) for count in (2, 0, 1)]
    measured = [
        replace(own, prompt_stability_M=own.predicted_iou_M / 2, prompts_M=np.arange(len(own), dtype=np.int32) + 7)
        for own in masks
    ]
    for before, after in zip(measured, records.unpack_masks(records.pack_masks(measured), WINDOWS), strict=True):
        assert before.prompt_stability_M is not None and after.prompt_stability_M is not None
        np.testing.assert_array_equal(after.prompt_stability_M, before.prompt_stability_M)
        assert before.prompts_M is not None and after.prompts_M is not None
        np.testing.assert_array_equal(after.prompts_M, before.prompts_M)
    assert all(
        own.prompt_stability_M is None and own.prompts_M is None
        for own in records.unpack_masks(records.pack_masks(masks), WINDOWS)
    )


def test_masks_are_packed_in_types_that_do_not_depend_on_how_many_there_are() -> None:
    """A panorama without masks must read like any other."""
    none = scored(np.zeros((0, HEIGHT, WIDTH), np.bool_))
    some = scored(np.ones((2, HEIGHT, WIDTH), np.bool_))
    empty, full = records.pack_masks([none, none, none]), records.pack_masks([none, some, none])
    assert {name: array.dtype for name, array in empty.items()} == {name: array.dtype for name, array in full.items()}
    assert empty["boxes"].shape == (0, 4)
    assert full["windows"].tolist() == [1, 1]
    assert [len(masks) for masks in records.unpack_masks(empty, WINDOWS)] == [0, 0, 0]


def test_runs_that_were_cut_short_are_refused() -> None:
    packed = records.pack_masks([scored(np.ones((1, HEIGHT, WIDTH), np.bool_))] * 3)
    packed["runs"][1] -= 1
    with pytest.raises(ValueError, match="cannot fill the box"):
        records.unpack_masks(packed, WINDOWS)


def test_fusion_reads_what_the_assistant_predicted() -> None:
    said = view()
    packed = records.pack_assistant(said)
    assistant_CHW, agreement_HW, view_labels_Khw = records.unpack_fused(
        {name: packed[name] for name in records.FUSED}, [Window(0, 0, 8, 8)] * 3
    )
    np.testing.assert_allclose(assistant_CHW, said.assistant_CHW, atol=0.01)
    np.testing.assert_allclose(assistant_CHW.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(agreement_HW, said.agreement_HW, atol=1 / 509)
    for packed_hw, said_hw in zip(view_labels_Khw, said.view_labels_Khw, strict=True):
        np.testing.assert_array_equal(packed_hw, said_hw)


def test_labels_of_windows_of_several_shapes_come_back_in_their_shapes() -> None:
    windows = [Window(0, 0, 4, 8), Window(4, 8, 4, 8), Window(0, 3, 8, 5)]
    rng = np.random.default_rng(1)
    labels = tuple(rng.integers(0, 4, (window.height, window.width)).astype(np.uint8) for window in windows)
    packed = records.pack_assistant(replace(view(), view_labels_Khw=labels))
    assert packed["window_labels"].shape == (3, 8, 8)
    unpacked = records.unpack_fused({name: packed[name] for name in records.FUSED}, windows)[2]
    for packed_hw, said_hw in zip(unpacked, labels, strict=True):
        np.testing.assert_array_equal(packed_hw, said_hw)


def test_the_view_of_the_whole_panorama_is_not_that_of_the_windows() -> None:
    said = view()
    whole_CHW = codec.decode_probabilities(records.pack_assistant(said)["assistant_whole_probabilities"])
    np.testing.assert_allclose(whole_CHW, said.whole_CHW, atol=0.01)
    assert np.abs(whole_CHW - said.assistant_CHW).max() > 0.1


def test_features_are_stored_under_their_level_and_no_others() -> None:
    said = view()
    packed = records.pack_assistant(said)
    assert {name for name in packed if name.startswith("features")} == {
        *("features_1", "features_1_scale", "features_3", "features_3_scale")
    }
    for level, features in said.features.items():
        stored, scale_D = packed[f"features_{level}"], packed[f"features_{level}_scale"]
        largest_D = np.abs(features).max(axis=(1, 2))
        error_Dhw = np.abs(codec.decode_features(stored, scale_D) - features)
        assert (error_Dhw <= largest_D[:, None, None] / 253).all()


def test_the_ensemble_keeps_its_maps_apart() -> None:
    rng = np.random.default_rng(1)
    labels_HW = rng.integers(0, 4, (8, 16)).astype(np.uint8)
    reliable_HW, boundary_HW, ignored_HW = rng.random((3, 8, 16)) < [[[0.2]], [[0.5]], [[0.8]]]
    packed = records.pack_ensemble(Fusion(labels_HW, view().assistant_CHW, reliable_HW), boundary_HW, ignored_HW)
    maps = {"ensemble_labels": labels_HW, "reliability": reliable_HW, "boundary": boundary_HW, "ignored": ignored_HW}
    for name, values_HW in maps.items():
        assert packed[name].dtype == np.uint8
        np.testing.assert_array_equal(packed[name], values_HW)
    np.testing.assert_allclose(
        codec.decode_probabilities(packed["ensemble_probabilities"]), view().assistant_CHW, atol=0.01
    )
