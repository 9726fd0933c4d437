"""Normalisation of pixels: what a network's own settings say, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import WeightsError
from pipeline.teacher.normalisation import Normalisation, assumption_note

CPU = torch.device("cpu")


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70))
def test_padding_repeats_the_last_row_and_column_up_to_a_multiple_of_32(height: int, width: int) -> None:
    images = noise(1, height, width)
    padded = np.pad(images, ((0, 0), (0, -height % 32), (0, -width % 32), (0, 0)), mode="edge")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = np.moveaxis((padded / 255 - mean) / deviation, -1, 1)
    np.testing.assert_allclose(Normalisation().prepare(images, CPU).numpy(), expected, atol=1e-5)


def test_a_processor_can_switch_rescaling_and_normalising_off() -> None:
    images = noise(1, 32, 32)
    raw = Normalisation.from_processor({"do_rescale": False, "do_normalize": False}).prepare(images, CPU)
    np.testing.assert_array_equal(raw.numpy(), np.moveaxis(images, -1, 1).astype(np.float32))


def test_a_file_that_names_no_processor_is_normalised_as_it_states() -> None:
    stated = {"image_mean": [0.1, 0.2, 0.3], "image_std": 0.5, "do_resize": True}
    assert Normalisation.from_processor(stated) == Normalisation((0.1, 0.2, 0.3), (0.5,) * 3)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        (
            {"image_processor_type": "OwnImageProcessor"},
            "names OwnImageProcessor; transformers .* has no image",
        ),
        ({"image_processor_type": "SegformerImageProcessor", "image_mean": None}, "has image_mean None"),
        ({"do_normalize": False, "rescale_factor": None}, "has rescale_factor None"),
        ({"size": 512}, "has no image_mean"),
        ({"image_mean": 0.5}, "has no image_std"),
        ({"image_mean": [0.5], "image_std": [0.5]}, r"has image_mean \[0.5\]; .* three numbers, for R, G and B"),
        ({"image_mean": "grey", "image_std": 1.0}, "has image_mean grey"),
        ({"image_mean": 0.5, "image_std": [0.5, 0.0, 0.5]}, "has image_std"),
        ({"do_color_quantize": True, "do_normalize": False}, "asks for do_color_quantize; further steps need the name"),
    ],
)
def test_settings_that_do_not_tell_what_becomes_of_a_pixel_are_refused(settings: dict[str, Any], refusal: str) -> None:
    with pytest.raises(WeightsError, match=f"settings.json {refusal}"):
        Normalisation.from_processor(settings, "settings.json")


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_processor_settings_that_are_no_json_object_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json .*JSON"):
        Normalisation.from_folder(tmp_path)


def test_a_folder_without_processor_settings_is_normalised_as_for_imagenet(tmp_path: Path) -> None:
    assert Normalisation.from_folder(tmp_path) == Normalisation()
    assert "ImageNet's mean and std are assumed" in assumption_note(tmp_path, "a")[0]


def test_settings_nested_in_a_processors_file_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    nested = {"image_processor": {"image_mean": 0.4, "image_std": 0.3}, "processor_class": "Own"}
    (tmp_path / "processor_config.json").write_text(json.dumps(nested))
    assert Normalisation.from_folder(tmp_path) == Normalisation((0.4,) * 3, (0.3,) * 3)
    assert assumption_note(tmp_path, "a") == ()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": 0.1, "image_std": 0.2}))
    assert Normalisation.from_folder(tmp_path) == Normalisation((0.1,) * 3, (0.2,) * 3)


def test_a_processors_file_without_settings_for_images_is_as_none(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Own"}))
    assert Normalisation.from_folder(tmp_path) == Normalisation()
    assert assumption_note(tmp_path, "a")


@pytest.mark.parametrize("name", ["ImageGPTImageProcessor", "VitMatteImageProcessor", "EfficientNetImageProcessor"])
def test_a_processor_that_does_something_else_to_pixels_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=f"names {name}"):
        Normalisation.from_processor({"image_processor_type": name})
