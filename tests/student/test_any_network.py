"""Students of other kinds than SegFormer: tiny networks of transformers, from a folder, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSemanticSegmentation,
    BeitConfig,
    ConvNextConfig,
    DPTConfig,
    Mask2FormerConfig,
    MobileViTConfig,
    PretrainedConfig,
    UperNetConfig,
)

from pipeline.classes import LabelSet
from pipeline.errors import RecipeError, WeightsError
from pipeline.student.config import DistillConfig, StudentConfig
from pipeline.student.model import forward_wrapped, load_student, predict_logits, start_student
from pipeline.student.onnx_graph import student_onnx
from pipeline.student.schedule import parameter_groups
from stages.events import Event, Scalars, silent
from stages.model_card import model_card
from stages.training import train_student
from tests.stages.test_training import toy_job
from tests.student.toy import HEIGHT, TOY, WIDTH

OTHER = LabelSet("other", ("wall", "void", "sky"), ((0, 0, 0),) * 3, ())
FEW: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 16,
       "image_size": 64, "patch_size": 16, "use_auxiliary_head": False}  # fmt: skip


def tiny(kind: str) -> PretrainedConfig:
    """A network of some ten thousand parameters."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    convnext: Any = ConvNextConfig
    beit: Any = BeitConfig
    backbone = convnext(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)
    makers = {
        "mobilevit": lambda: MobileViTConfig(hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 16, 16, 24, 32, 32, 64],
                                             num_attention_heads=2, aspp_out_channels=16, atrous_rates=[1, 2, 3]),
        "upernet": lambda: UperNetConfig(backbone_config=backbone, hidden_size=16, pool_scales=[1, 2]),
        "beit": lambda: beit(**FEW, out_indices=[1, 2, 3, 4], pool_scales=[1, 2]),
        "dpt": lambda: DPTConfig(**FEW, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8] * 4,
                                 fusion_hidden_size=8),
    }  # fmt: skip
    return makers[kind]()


def config_only(folder: Path, kind: str) -> StudentConfig:
    """A folder with a config.json alone."""
    tiny(kind).save_pretrained(folder)
    return StudentConfig(kind="transformers", weights=str(folder))


def trained_elsewhere(folder: Path, labels: LabelSet = OTHER) -> Any:
    """Weights of a MobileViT with other classes."""
    config = tiny("mobilevit")
    config.id2label, config.label2id = dict(enumerate(labels.names)), {n: i for i, n in enumerate(labels.names)}
    model: Any = AutoModelForSemanticSegmentation.from_config(config)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["mobilevit", "upernet", "beit"])
def test_logits_are_at_a_quarter_and_wrap_over_the_seam(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = start_student(config_only(tmp_path, kind), TOY).model.eval()
    image = torch.randint(0, 256, (1, 64, 128, 3), dtype=torch.uint8)
    logits = predict_logits(model, image)
    assert logits.shape == (1, len(TOY), 16, 32)
    with torch.inference_mode():
        output = forward_wrapped(model, torch.rand(2, 3, 64, 128), 32)
    shapes = [tuple(level.shape[2:]) for level in output.levels]
    assert shapes == ([] if kind == "beit" else [(16, 32), (8, 16), (4, 8), (2, 4)])


def test_a_student_of_another_kind_learns_and_can_be_loaded_and_told_about(tmp_path: Path) -> None:
    student, events = config_only(tmp_path / "start", "mobilevit"), list[Event]()
    training = {"steps": 8, "batch_size": 2, "log_every": 2, "mirror": False, "colour_jitter": 0.0}
    job = toy_job(tmp_path / "students", student=student, distill=training, ids=("0", "1"))
    folder = train_student(job, events.append)
    first, *_, last = [event.values for event in events if isinstance(event, Scalars)]
    assert last["ensemble"] < first["ensemble"]
    assert "features" in first
    loaded = load_student(folder)
    assert loaded.config.id2label == dict(enumerate(TOY.names))
    assert predict_logits(loaded, torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)).shape == (1, 3, 8, 16)
    assert "network of transformers' type mobilevit" in model_card(folder)
    assert json.loads((folder / "training.json").read_text())["settings"]["student"]["kind"] == "transformers"


def test_rows_of_the_head_are_reused_by_the_names_of_the_classes(tmp_path: Path) -> None:
    before = trained_elsewhere(tmp_path).state_dict()
    start = start_student(StudentConfig(kind="transformers", weights=str(tmp_path)), TOY)
    after = start.model.state_dict()
    (classifier,) = [name for name in after if name.endswith("classifier.convolution.weight")]
    sky, wall = TOY.names.index("sky"), TOY.names.index("wall")
    assert torch.equal(after[classifier][sky], before[classifier][OTHER.names.index("sky")])
    assert torch.equal(after[classifier][wall], before[classifier][OTHER.names.index("wall")])
    encoder = [name for name in after if name.startswith("mobilevit.") and after[name].is_floating_point()]
    assert all(torch.equal(after[name], before[name]) for name in encoder)
    assert "have 2 of the 3 classes" in start.note and "grass" in start.note


def test_weights_of_the_same_classes_are_taken_as_they_are(tmp_path: Path) -> None:
    before = trained_elsewhere(tmp_path, TOY).state_dict()
    start = start_student(StudentConfig(kind="transformers", weights=str(tmp_path)), TOY)
    assert start.note == ""
    assert all(torch.equal(value, before[name]) for name, value in start.model.state_dict().items())


def test_the_encoder_has_its_own_learning_rate(tmp_path: Path) -> None:
    model = start_student(config_only(tmp_path, "upernet"), TOY).model
    groups = parameter_groups(model, torch.nn.Module(), DistillConfig(learning_rate=1.0, head_multiplier=10.0))
    peaks = {id(parameter): group["peak"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert peaks[id(parameter)] == (1.0 if name.startswith("backbone.") else 10.0), name


def test_networks_that_predict_masks_are_refused_by_name(tmp_path: Path) -> None:
    Mask2FormerConfig().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"of type mask2former.*logits of classes.*upernet.*such as Mask2Former"):
        start_student(StudentConfig(kind="transformers", weights=str(tmp_path)), TOY)


def test_networks_of_a_fixed_square_size_are_refused_before_training(tmp_path: Path) -> None:
    job = toy_job(tmp_path / "students", student=config_only(tmp_path / "dpt", "dpt"), losses={"features": 0.0})
    with pytest.raises(WeightsError, match=r"network \(dpt\) does not take 1 image of 192x32 pixels"):
        train_student(job, silent)


def test_the_features_loss_of_a_network_without_maps_is_refused_with_what_to_set(tmp_path: Path) -> None:
    student = config_only(tmp_path / "beit", "beit")
    job = toy_job(tmp_path / "students", student=student, distill={"batch_size": 2})
    with pytest.raises(RecipeError, match=r"network \(beit\) has no feature maps.*losses\.features = 0"):
        train_student(job, silent)


def test_a_network_without_a_name_is_asked_for() -> None:
    with pytest.raises(RecipeError, match=r"student\.weights is ''.*a folder or a hub name"):
        StudentConfig(kind="transformers")
    with pytest.raises(RecipeError, match=r"student\.kind"):
        StudentConfig(kind="unet")


def test_the_name_of_a_student_has_its_kind(tmp_path: Path) -> None:
    trained_elsewhere(tmp_path / "start")
    student = StudentConfig(kind="transformers", weights=str(tmp_path / "start"))
    name = toy_job(tmp_path, student=student).fingerprint
    assert (
        toy_job(tmp_path, student=StudentConfig("b1", str(tmp_path / "start"), kind="transformers")).fingerprint == name
    )
    assert name != toy_job(tmp_path).fingerprint


def test_a_network_that_cannot_learn_from_single_images_is_refused_before_training(tmp_path: Path) -> None:
    job = toy_job(tmp_path / "students", student=config_only(tmp_path / "beit", "beit"), losses={"features": 0.0})
    with pytest.raises(WeightsError, match=r"does not take 1 image .*more than 1 value.* another distill\.batch_size"):
        train_student(job, silent)


@pytest.mark.slow
def test_students_of_other_kinds_become_onnx_files(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = start_student(config_only(tmp_path, "beit"), TOY).model.eval()
    session = onnxruntime.InferenceSession(student_onnx(model, "uint8", {}))
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 192), np.uint8)
    (found,) = session.run(None, {"images": image})
    expected = predict_logits(model, torch.from_numpy(image.transpose(0, 2, 3, 1).copy())).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_a_student_that_cannot_become_an_onnx_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    model = start_student(config_only(tmp_path, "mobilevit"), TOY).model.eval()
    with pytest.raises(WeightsError, match=r"a student \(mobilevit\) cannot be exported.*goodsam predict --model"):
        student_onnx(model, "uint8", {})
