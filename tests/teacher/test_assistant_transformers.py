"""Assistants from transformers, against transformers' own processor, model and pipeline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    BeitConfig,
    BeitForSemanticSegmentation,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    pipeline,
)

from pipeline.classes import DENSEPASS_13
from pipeline.errors import RecipeError, WeightsError
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.assistant_transformers import TransformersAssistant, load_transformers, probe_outputs
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.normalisation import Normalisation
from pipeline.world import build_scene, render_perspective
from pipeline.world.seeds import MODEL_VALIDATION

CPU = torch.device("cpu")
HEIGHT, WIDTH = 64, 96
WIDTHS = [8, 16, 24, 32]
CONFIG = SegformerConfig(
    hidden_sizes=WIDTHS, depths=[1] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=16,
    id2label=dict(enumerate(DENSEPASS_13.names)),
)  # fmt: skip


def tiny_network() -> SegformerForSemanticSegmentation:
    """Random, but not a network that says the same everywhere: weights are large and no class is ahead."""
    torch.manual_seed(0)
    network = SegformerForSemanticSegmentation(CONFIG).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        logits = network(torch.randn(1, 3, HEIGHT, WIDTH)).logits
        network.decode_head.classifier.bias -= logits.mean((0, 2, 3))
    return network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random SegFormer with a normalisation of its own."""
    path = tmp_path_factory.mktemp("assistants") / "tiny"
    tiny_network().save_pretrained(path)
    SegformerImageProcessor(
        size={"height": HEIGHT, "width": WIDTH}, image_mean=[0.3, 0.4, 0.5], image_std=[0.2, 0.25, 0.3]
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def assistant(folder: Path) -> TransformersAssistant:
    return load_transformers(str(folder), DENSEPASS_13, CPU)


def images(count: int = 2, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((width, height))) for image in coarse])


def full_size_labels(logits_KChw: torch.Tensor, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    return torch.nn.functional.interpolate(logits_KChw, size, mode="bilinear").argmax(1).numpy()


def test_logits_are_those_of_the_models_own_processor_and_network(
    folder: Path, assistant: TransformersAssistant
) -> None:
    processor = SegformerImageProcessor.from_pretrained(folder)
    inputs = processor(images=list(images()), return_tensors="pt")
    with torch.no_grad():
        expected = SegformerForSemanticSegmentation.from_pretrained(folder)(**inputs).logits
    torch.testing.assert_close(assistant(images()).logits_KChw, expected, atol=1e-5, rtol=1e-5)


def test_in_bfloat16_the_demos_labels_are_nearly_the_same() -> None:
    view = render_perspective(build_scene(MODEL_VALIDATION[9_000]), 128, 128, 65.0).image_HW3[None]
    exact, rough = (
        load_assistant(AssistantConfig(precision=name), CPU)(view, (1, 4)) for name in ("float32", "bfloat16")
    )
    assert all(map_.dtype == torch.float32 for map_ in (rough.logits_KChw, *rough.features.values()))
    assert not torch.equal(exact.logits_KChw, rough.logits_KChw)
    assert (exact.logits_KChw.argmax(1) == rough.logits_KChw.argmax(1)).float().mean() > 0.99


@pytest.mark.parametrize(("kind", "precision"), [("onnx", "bfloat16"), ("demo", "float16")])
def test_precisions_that_an_assistant_has_not_are_refused(kind: str, precision: str) -> None:
    with pytest.raises(RecipeError, match=r"assistant\.precision"):
        AssistantConfig(kind=kind, name="a.onnx", precision=precision)


def test_labels_are_those_of_the_image_segmentation_pipeline(folder: Path, assistant: TransformersAssistant) -> None:
    segments = pipeline("image-segmentation", model=str(folder), device=CPU)(Image.fromarray(images()[0]))
    expected = np.full((HEIGHT, WIDTH), -1)
    for segment in segments:
        expected[np.asarray(segment["mask"]) > 0] = DENSEPASS_13.names.index(segment["label"])
    labels = full_size_labels(assistant(images()[:1]).logits_KChw, (HEIGHT, WIDTH))[0]
    assert len(np.unique(labels)) > 2, "a constant picture would prove nothing"
    np.testing.assert_array_equal(labels, expected)


FAMILIES = ("Beit", "Bit", "ConvNext", "DPT", "DeiT", "Levit", "MobileNetV2", "MobileViT", "Sapiens2",
            "Segformer", "Tipsv2Dpt", "ViT", "CLIP")  # fmt: skip
MEAN_AND_STD = {"image_mean": [0.3, 0.4, 0.5], "image_std": [0.2, 0.25, 0.3]}


@pytest.mark.parametrize(
    "settings",
    [
        *({"image_processor_type": f"{family}ImageProcessor"} for family in FAMILIES),
        {"image_processor_type": "SegformerImageProcessor", **MEAN_AND_STD},
        {"image_processor_type": "SegformerImageProcessor", "do_normalize": None, "do_rescale": True},
        {"image_processor_type": "SegformerImageProcessor", "do_normalize": False, "do_flip_channel_order": True},
        {"image_processor_type": "SegformerImageProcessorFast", "image_mean": 0.5, "image_std": 0.25},
        {"image_processor_type": "BeitImageProcessor", "do_rescale": False},
        {"image_processor_type": "ViTImageProcessor", "rescale_factor": 1 / 127.5, **MEAN_AND_STD},
        {"image_processor_type": "MobileViTImageProcessor", "do_normalize": True, **MEAN_AND_STD},
        {"image_processor_type": "MobileViTImageProcessor", "do_flip_channel_order": False, "do_rescale": False},
        {"feature_extractor_type": "MobileViTFeatureExtractor", "do_flip_channel_order": True, "size": 544},
        {"feature_extractor_type": "SegformerFeatureExtractor", "do_normalize": True, "reduce_labels": True},
    ],
    ids=str,
)
def test_pixel_values_are_those_of_the_models_own_processor(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    inputs = processor(images=list(images()), do_resize=False, do_center_crop=False, return_tensors="pt")
    prepared = Normalisation.from_folder(tmp_path).prepare(images(), CPU)
    torch.testing.assert_close(prepared, inputs["pixel_values"].float(), atol=1e-5, rtol=1e-5)


def test_features_are_the_encoders_hidden_states(folder: Path, assistant: TransformersAssistant) -> None:
    assert assistant.feature_levels == (1, 2, 3, 4)
    inputs = SegformerImageProcessor.from_pretrained(folder)(images=list(images()), return_tensors="pt")
    with torch.no_grad():
        states = SegformerForSemanticSegmentation.from_pretrained(folder)(**inputs, output_hidden_states=True)
    features = assistant(images(), levels=(4, 1, 2)).features
    assert list(features) == [4, 1, 2]
    for level, feature in features.items():
        assert feature.shape == (2, WIDTHS[level - 1], HEIGHT >> level + 1, WIDTH >> level + 1)
        torch.testing.assert_close(feature, states.hidden_states[level - 1], atol=1e-5, rtol=1e-5)


def test_no_features_are_kept_unless_requested(assistant: TransformersAssistant) -> None:
    assert assistant(images()).features == {}


def test_odd_sizes_see_repeated_borders_and_lose_them_again(assistant: TransformersAssistant) -> None:
    odd = images(1, 50, 70)
    padded = np.pad(odd, ((0, 0), (0, 14), (0, 26), (0, 0)), mode="edge")
    here, there = assistant(odd, levels=(1, 4)), assistant(padded, levels=(1, 4))
    assert here.logits_KChw.shape[2:] == (13, 18)
    torch.testing.assert_close(here.logits_KChw, there.logits_KChw[..., :13, :18])
    torch.testing.assert_close(here.features[4], there.features[4][..., :2, :3])


def test_the_assistant_is_frozen_and_answers_the_same_twice(assistant: TransformersAssistant) -> None:
    first, second = (assistant(images()).logits_KChw for _ in range(2))
    assert not assistant.network.training
    assert not first.requires_grad
    assert not any(parameter.requires_grad for parameter in assistant.network.parameters())
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_half_precision_weights_are_computed_with_in_float32(folder: Path, tmp_path: Path) -> None:
    tiny_network().half().save_pretrained(tmp_path)
    half = load_transformers(str(tmp_path), DENSEPASS_13, CPU)
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float32}
    assert half(images()).logits_KChw.dtype == torch.float32


def test_a_recipe_loads_a_folder(folder: Path) -> None:
    config = AssistantConfig(kind="transformers", name=str(folder), label_set="densepass13")
    assert load_assistant(config, CPU).label_set == DENSEPASS_13


def test_the_identity_follows_the_weights_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "tiny")
    original, copy = (load_transformers(str(path), DENSEPASS_13, CPU).identity for path in (folder, moved))
    assert original == copy
    network = tiny_network()
    with torch.no_grad():
        next(network.decode_head.parameters()).add_(1)
    network.save_pretrained(moved)
    assert load_transformers(str(moved), DENSEPASS_13, CPU).identity != original


def test_the_identity_follows_the_normalisation(folder: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(folder, tmp_path / "tiny")
    settings = json.loads((changed / "preprocessor_config.json").read_text())
    (changed / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0.5, 0.5, 0.5]}))
    first, second = (load_transformers(str(path), DENSEPASS_13, CPU).identity for path in (folder, changed))
    assert first != second


def test_other_classes_than_the_label_sets_are_refused(folder: Path) -> None:
    config = AssistantConfig(kind="transformers", name=str(folder), label_set="cityscapes19")
    with pytest.raises(WeightsError, match="predicts 13 classes; the label set cityscapes19 has 19"):
        load_assistant(config, CPU)


def renamed(folder: Path, to: Path, names: list[str]) -> str:
    """A copy of a network's folder whose config.json names the classes so."""
    copy = shutil.copytree(folder, to)
    config = json.loads((copy / "config.json").read_text())
    config["id2label"] = {str(class_id): name for class_id, name in enumerate(names)}
    config["label2id"] = {name: class_id for class_id, name in enumerate(names)}
    (copy / "config.json").write_text(json.dumps(config))
    return str(copy)


def test_classes_in_another_order_are_put_into_that_of_the_label_set(
    folder: Path, assistant: TransformersAssistant, tmp_path: Path
) -> None:
    names = [name.upper().replace(" ", "_") for name in reversed(DENSEPASS_13.names)]
    reordered = load_transformers(renamed(folder, tmp_path / "tiny", names), DENSEPASS_13, CPU)
    expected, found = (network(images(), levels=(1,)) for network in (assistant, reordered))
    torch.testing.assert_close(found.logits_KChw, expected.logits_KChw.flip(1))
    torch.testing.assert_close(found.features[1], expected.features[1])
    assert reordered.identity != assistant.identity


def test_classes_without_names_are_taken_in_their_order(
    folder: Path, assistant: TransformersAssistant, tmp_path: Path
) -> None:
    unnamed = renamed(folder, tmp_path / "tiny", [f"LABEL_{class_id}" for class_id in range(13)])
    found = load_transformers(unnamed, DENSEPASS_13, CPU)(images()).logits_KChw
    torch.testing.assert_close(found, assistant(images()).logits_KChw)


def test_classes_of_other_names_are_refused_with_both_lists(folder: Path, tmp_path: Path) -> None:
    name = renamed(folder, tmp_path / "tiny", ["sofa", *DENSEPASS_13.names[1:]])
    with pytest.raises(WeightsError, match=r"predicts sofa, sidewalk, .*; the label set densepass13 has road, "):
        load_transformers(name, DENSEPASS_13, CPU)


def test_levels_of_a_network_without_a_pyramid_are_refused(tmp_path: Path) -> None:
    config = BeitConfig(hidden_size=8, num_hidden_layers=4, num_attention_heads=1, intermediate_size=8, image_size=32,
                        id2label=CONFIG.id2label, pool_scales=[1], use_auxiliary_head=False,
                        out_indices=[1, 2, 3, 4])  # fmt: skip # pyright: ignore[reportCallIssue]
    BeitForSemanticSegmentation(config).save_pretrained(tmp_path)
    plain = load_transformers(str(tmp_path), DENSEPASS_13, CPU)
    assert plain.feature_levels == ()
    assert plain(images()).logits_KChw.shape[:2] == (2, 13)
    with pytest.raises(WeightsError, match="no features of level 1, 2; it has none"):
        plain(images(), levels=(1, 2))


class FixedSize(torch.nn.Module):
    def forward(self, pixel_values: torch.Tensor, output_hidden_states: bool) -> None:
        raise ValueError(f"expected 512x512\nbut got {tuple(pixel_values.shape)}")


def test_a_network_for_one_image_size_only_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"beit cannot segment an image of 64x96 pixels \(expected 512x512\)"):
        probe_outputs(FixedSize(), CPU, "beit")


def encoder_alone(path: Path) -> None:
    SegformerForImageClassification(CONFIG).save_pretrained(path)


def broken_weights(path: Path) -> None:
    tiny_network().save_pretrained(path)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def other_shapes(path: Path) -> None:
    tiny_network().save_pretrained(path)
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**settings, "decoder_hidden_size": 24}))


def no_weights(path: Path) -> None:
    tiny_network().config.save_pretrained(path)


def no_network(path: Path) -> None:
    (path / "config.json").write_text("{}")


def no_json(path: Path) -> None:
    (path / "config.json").write_text("weights")


def empty(path: Path) -> None:
    pass


@pytest.mark.parametrize("make", [encoder_alone, broken_weights, other_shapes, no_weights, no_network, no_json, empty])
def test_a_folder_that_is_no_whole_network_is_refused_in_one_sentence(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path)
    with pytest.raises(WeightsError) as refusal:
        load_transformers(str(tmp_path), DENSEPASS_13, CPU)
    assert str(tmp_path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "~/nothing", "no/such/folder"])
def test_a_missing_folder_is_refused_without_asking_the_hub(name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name} is not a folder"):
        load_transformers(name, DENSEPASS_13, CPU)
