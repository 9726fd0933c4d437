from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.adapt.batches import AdaptSample, AdaptSet, Way
from pipeline.adapt.config import AdaptConfig
from pipeline.adapt.losses import adapt_losses, total
from pipeline.adapt.network import load_trainable, predict_pixels, save_network, source_folder
from pipeline.cache.codec import encode_probabilities
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13
from pipeline.panorama.windows import Window
from pipeline.student.sample import PanoramaSample
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.assistant_transformers import TransformersAssistant
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.rectification import predict_views

CPU = torch.device("cpu")
HEIGHT, WIDTH = 32, 64
WHOLE = Window(0, 0, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of 19 classes that lists them backwards, with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("network")
    names = CITYSCAPES_19.names[::-1]
    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=16,
        id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)},
    )  # fmt: skip
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"do_rescale": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}'
    )
    return folder


def settings(folder: Path) -> AssistantConfig:
    return AssistantConfig(kind="transformers", name=str(folder), label_set="cityscapes19")


def panorama(truth: int = 0) -> AdaptSample:
    image_HW3 = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    certain_CHW = np.zeros((13, HEIGHT, WIDTH))
    certain_CHW[truth] = 1
    codes, everywhere = encode_probabilities(certain_CHW), np.ones((HEIGHT, WIDTH), np.bool_)
    return AdaptSample(PanoramaSample(image_HW3, codes, codes, everywhere, ~everywhere, ~everywhere, {}), image_HW3)


def data(truth: int = 0) -> AdaptSet:
    config = AdaptConfig(batch_size=1, colour_jitter=0.0)
    return AdaptSet(("0",), lambda _: panorama(truth), (Way("whole", (WHOLE,), 1.5),), config)


def test_pixels_are_predicted_as_in_stage_one(cityscapes: Path):
    """Resized, normalised, put in order, enlarged, merged: as the cache has it."""
    batch = data().batch(0)
    network = load_trainable(settings(cityscapes), CITYSCAPES_19, CPU)
    with torch.no_grad():
        found_CN = predict_pixels(network, batch, DENSEPASS_13).softmax(dim=0).numpy()
    small = TransformersAssistant(**vars(network))
    shown_HW3 = _shown(0)
    (_, prediction), *_ = predict_views(shown_HW3, [WHOLE], small, (), 1.5, DENSEPASS_13)
    np.testing.assert_allclose(found_CN, prediction.probabilities_Chw[:, ::2, ::2].reshape(13, -1), atol=1e-4)


def _shown(step: int) -> np.ndarray:
    """The moved panorama before it is resized."""
    config = AdaptConfig(batch_size=1, colour_jitter=0.0)
    unscaled = AdaptSet(("0",), lambda _: panorama(), (Way("whole", (WHOLE,), 1.0),), config)
    return unscaled.batch(step).images_KHW3[0]


def test_steps_teach_every_weight_and_the_saved_network_is_the_trained_one(cityscapes: Path, tmp_path: Path):
    network, config = load_trainable(settings(cityscapes), CITYSCAPES_19, CPU), AdaptConfig()
    before = {name: value.clone() for name, value in network.network.named_parameters()}
    optimizer = torch.optim.AdamW(network.network.parameters(), lr=0.01)
    measured: list[float] = []
    for step in range(8):
        batch = data(truth=10).batch(step)
        losses = adapt_losses(predict_pixels(network, batch, DENSEPASS_13), batch.targets(CPU), None, config)
        optimizer.zero_grad()
        total(losses, config).backward()
        optimizer.step()
        measured.append(losses["ensemble"].item())
    assert measured[-1] < measured[0] / 2
    moved = [name for name, value in network.network.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) == len(before)
    save_network(network, source_folder(settings(cityscapes)), tmp_path / "final")
    saved = load_assistant(settings(tmp_path / "final"), CPU)
    images_KHW3 = np.stack([panorama().learned.image_HW3])
    with torch.no_grad():
        expected = network.class_scores(images_KHW3)
    torch.testing.assert_close(saved(images_KHW3).logits_KChw, expected)
    assert saved.notes == ()  # the settings of its pixels came along


def test_the_demo_is_trainable_and_keeps_its_classes(tmp_path: Path):
    config = AssistantConfig()
    network = load_trainable(config, DENSEPASS_13, CPU)
    save_network(network, source_folder(config), tmp_path / "final")
    saved = AssistantConfig(kind="transformers", name=str(tmp_path / "final"), label_set="densepass13")
    images_KHW3 = np.stack([panorama().learned.image_HW3])
    torch.testing.assert_close(load_assistant(saved, CPU)(images_KHW3).logits_KChw,
                               load_assistant(config, CPU)(images_KHW3).logits_KChw)  # fmt: skip
