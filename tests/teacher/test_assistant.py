"""What all assistants share: normalisation, padding and cutting back; and the demo's own assistant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from pipeline.errors import WeightsError
from pipeline.teacher.assistant import (
    DEMO_FOLDER,
    class_order,
    crop_padding,
    load_assistant,
    require_classes,
    require_levels,
)
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.normalisation import Normalisation, assumption_note
from pipeline.world import build_scene, render_perspective
from pipeline.world.seeds import MODEL_VALIDATION

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


@pytest.mark.parametrize("stride", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("size", [(64, 96), (50, 33), (400, 1)])
def test_cutting_back_keeps_exactly_the_cells_that_touch_the_image(stride: int, size: tuple[int, int]) -> None:
    padded = torch.Size((1, 3, *(-(-extent // 32) * 32 for extent in size)))
    inside = torch.zeros(padded[2:])
    inside[: size[0], : size[1]] = 1
    cells = torch.nn.functional.max_pool2d(inside[None, None], stride)
    kept = crop_padding(cells.half(), padded, size)
    assert kept.dtype == torch.float32
    assert bool((kept == 1).all())
    assert kept.sum() == cells.sum()


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
            "is for OwnImageProcessor; transformers .* has no image",
        ),
        ({"image_processor_type": "SegformerImageProcessor", "image_mean": None}, "has image_mean None"),
        ({"do_normalize": False, "rescale_factor": None}, "has rescale_factor None"),
        ({"size": 512}, "has no image_mean"),
        ({"image_mean": 0.5}, "has no image_std"),
        ({"image_mean": [0.5], "image_std": [0.5]}, r"has image_mean \[0.5\]; .* one number for each of R, G and B"),
        ({"image_mean": "grey", "image_std": 1.0}, "has image_mean grey"),
        ({"image_mean": 0.5, "image_std": [0.5, 0.0, 0.5]}, "has image_std"),
        ({"do_color_quantize": True, "do_normalize": False}, "asks for do_color_quantize; it names no image processor"),
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
    with pytest.raises(WeightsError, match=f"is for {name}"):
        Normalisation.from_processor({"image_processor_type": name})


def test_missing_levels_are_named_with_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"no features of level 4; it gives 1, 2, 3\. "):
        require_levels((1, 4), (1, 2, 3), "network")


def test_a_wrong_number_of_classes_names_both_numbers() -> None:
    with pytest.raises(WeightsError, match="13 classes; the label set cityscapes19 has 19"):
        require_classes(13, CITYSCAPES_19, "the assistant")


TOY = LabelSet("toy", ("road", "traffic light", "sky"), ((1, 1, 1),) * 3, thin=())


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("road", "traffic light", "sky"), (0, 1, 2)),
        (("sky", "road", "traffic light"), (1, 2, 0)),
        (("Sky", "Traffic_Light", " ROAD"), (2, 1, 0)),
        (("LABEL_0", "LABEL_1", "LABEL_2"), (0, 1, 2)),
    ],
)
def test_channels_follow_the_names_of_the_label_set(names: tuple[str, ...], order: tuple[int, ...]) -> None:
    assert class_order(names, TOY, "the assistant") == order


@pytest.mark.parametrize("names", [("road", "lamp", "sky"), ("sky", "sky", "road"), ("LABEL_0", "road", "sky")])
def test_other_names_are_refused_with_both_lists(names: tuple[str, ...]) -> None:
    both = f"the assistant predicts {', '.join(names)}; the label set toy has road, traffic light, sky"
    with pytest.raises(WeightsError, match=both):
        class_order(names, TOY, "the assistant")


def test_the_demo_assistant_labels_a_street_it_has_never_seen() -> None:
    assistant = load_assistant(AssistantConfig(kind="demo"), CPU)
    assert assistant.label_set == DENSEPASS_13
    assert assistant.feature_levels == (1, 2, 3, 4)
    view = render_perspective(build_scene(MODEL_VALIDATION[9_000]), 256, 256, 65.0)
    logits = assistant(view.image_HW3[None]).logits_KChw
    labels = torch.nn.functional.interpolate(logits, (256, 256), mode="bilinear").argmax(1)[0].numpy()
    assert (labels == view.labels_HW).mean() > 0.6


def test_the_demo_assistant_is_small_and_kept_in_half_precision() -> None:
    assert (DEMO_FOLDER / "model.safetensors").stat().st_size < 5.5e6
