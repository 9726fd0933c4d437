"""What all assistants share: normalisation, padding and cutting back; and the demo's own assistant."""

from __future__ import annotations

import numpy as np
import pytest
import torch

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
from pipeline.world import build_scene, render_perspective
from pipeline.world.seeds import MODEL_VALIDATION

CPU = torch.device("cpu")


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


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


def test_missing_levels_are_named_with_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"no features of level 4; it has 1, 2, 3\. "):
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


def test_the_demo_assistant_labels_an_unseen_street() -> None:
    assistant = load_assistant(AssistantConfig(kind="demo"), CPU)
    assert assistant.label_set == DENSEPASS_13
    assert assistant.feature_levels == (1, 2, 3, 4)
    view = render_perspective(build_scene(MODEL_VALIDATION[9_000]), 256, 256, 65.0)
    logits = assistant(view.image_HW3[None]).logits_KChw
    labels = torch.nn.functional.interpolate(logits, (256, 256), mode="bilinear").argmax(1)[0].numpy()
    assert (labels == view.labels_HW).mean() > 0.6


def test_the_demo_assistant_is_small_and_kept_in_half_precision() -> None:
    assert (DEMO_FOLDER / "model.safetensors").stat().st_size < 5.5e6
