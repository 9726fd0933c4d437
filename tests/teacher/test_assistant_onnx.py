"""Assistants as ONNX files, against the same convolutions in torch; and a real network where there is one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13
from pipeline.errors import RecipeError, WeightsError
from pipeline.finite import require_finite
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.assistant_onnx import load_onnx
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.identity import onnx_identity
from pipeline.teacher.normalisation import Normalisation
from tests.real_data import REAL_DATA

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

CPU = torch.device("cpu")
REAL = REAL_DATA / "assistant" / "espnetv2_s2_cityscapes19.onnx"


@dataclass(frozen=True)
class Convolutions:
    """Two strided convolutions and a classifier, in torch."""

    stem: torch.Tensor
    deeper: torch.Tensor
    classifier: torch.Tensor

    def __call__(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(logits, features of stride 4, features of stride 8)."""
        fine = torch.nn.functional.conv2d(inputs, self.stem, stride=4)
        return (
            torch.nn.functional.conv2d(fine, self.classifier),
            fine,
            torch.nn.functional.conv2d(fine, self.deeper, stride=2),
        )


@pytest.fixture(scope="module")
def network() -> Convolutions:
    torch.manual_seed(0)
    return Convolutions(torch.randn(6, 3, 4, 4) / 7, torch.randn(8, 6, 2, 2) / 5, torch.randn(13, 6, 1, 1))


def export(
    network: Convolutions, path: Path, names: tuple[str, str, str] = ("logits", "features_4", "features_8"),
    shape: Sequence[int | str] = ("N", 3, "H", "W"),
) -> str:  # fmt: skip
    """Write the convolutions as an ONNX file; outputs as (features_8, features_4, logits) unless logits go unnamed."""
    logits, fine, deeper = names
    nodes = [
        helper.make_node("Conv", ["image", "stem"], [fine], strides=[4, 4]),
        helper.make_node("Conv", [fine, "deeper"], [deeper], strides=[2, 2]),
        helper.make_node("Conv", [fine, "classifier"], [logits]),
    ]
    outputs = [deeper, fine, logits] if logits == "logits" else [logits, fine, deeper]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values.numpy(), name) for name, values in vars(network).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def images(count: int = 2, height: int = 64, width: int = 96) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_outputs_are_those_of_the_same_network_in_torch(
    network: Convolutions, tmp_path: Path, size: tuple[int, int]
) -> None:
    assistant = load_onnx(export(network, tmp_path / "a.onnx"), DENSEPASS_13, CPU)
    logits, fine, deeper = network(Normalisation().prepare(images(2, *size), CPU))
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    output = assistant(images(2, *size), levels=(2, 1))
    torch.testing.assert_close(output.logits_KChw, logits[..., :rows, :columns], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.features[1], fine[..., :rows, :columns], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        output.features[2], deeper[..., : -(-rows // 2), : -(-columns // 2)], atol=1e-5, rtol=1e-5
    )


def test_the_only_output_beside_the_levels_is_taken_whatever_its_name(network: Convolutions, tmp_path: Path) -> None:
    name = export(network, tmp_path / "a.onnx", ("scores", "features_4", "features_8"))
    expected = network(Normalisation().prepare(images(), CPU))[0]
    torch.testing.assert_close(load_onnx(name, DENSEPASS_13, CPU)(images()).logits_KChw, expected, atol=1e-5, rtol=1e-5)


def test_of_several_outputs_the_setting_names_the_one(network: Convolutions, tmp_path: Path) -> None:
    name = export(network, tmp_path / "a.onnx", ("scores", "x", "features_8"))
    with pytest.raises(WeightsError, match=r"has the outputs scores, x, features_8; .* Set assistant\.output"):
        load_onnx(name, DENSEPASS_13, CPU)
    with pytest.raises(WeightsError, match="has no output y; its outputs are scores, x, features_8"):
        load_onnx(name, DENSEPASS_13, CPU, "y")
    config = AssistantConfig(kind="onnx", name=name, label_set="densepass13", output="scores")
    assistant = load_assistant(config, CPU)
    assert assistant.feature_levels == (2,)
    expected = network(Normalisation().prepare(images(), CPU))[0]
    torch.testing.assert_close(assistant(images()).logits_KChw, expected, atol=1e-5, rtol=1e-5)


def test_an_output_is_chosen_of_onnx_files_only() -> None:
    with pytest.raises(RecipeError, match=r"assistant\.output"):
        AssistantConfig(kind="demo", output="logits")


def small(
    network: Convolutions, path: Path, then: Sequence[str] = (), takes: int = TensorProto.FLOAT,
    shape: Sequence[int | str] = ("N", 3, "H", "W"), gives: int = TensorProto.FLOAT,
) -> str:  # fmt: skip
    """Write a 4x4 convolution to 13 classes that takes numbers of a type; operators of `then` follow it."""
    weights = torch.einsum("cf,fxij->cxij", network.classifier[:, :, 0, 0], network.stem).numpy()
    kinds: dict[str, dict[str, Any]] = {
        "Softmax": {"axis": 1},
        "Log": {},
        "ArgMax": {"axis": 1},
        "Transpose": {"perm": [0, 2, 3, 1]},
        "Cast": {"to": TensorProto.FLOAT},
    }
    nodes = [helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT)]
    steps = ("Conv", *then)
    values = ["floats", *(f"after_{step}" for step in steps)]
    for step, source, result in zip(steps, values, values[1:], strict=False):
        if step == "Conv":
            nodes.append(helper.make_node("Conv", [source, "weights"], [result], strides=[4, 4]))
        else:
            nodes.append(helper.make_node(step, [source], [result], **kinds[step]))
    nodes.append(helper.make_node("Identity", [values[-1]], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", takes, shape)],
        [helper.make_tensor_value_info("logits", gives, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def test_half_precision_inputs_are_fed(network: Convolutions, tmp_path: Path) -> None:
    half = load_onnx(small(network, tmp_path / "a.onnx", takes=TensorProto.FLOAT16), DENSEPASS_13, CPU)
    expected = network(Normalisation().prepare(images(), CPU).half().float())[0]
    torch.testing.assert_close(half(images()).logits_KChw, expected, atol=1e-4, rtol=1e-4)


def test_byte_inputs_get_pixels_as_they_are(network: Convolutions, tmp_path: Path) -> None:
    raw = load_onnx(small(network, tmp_path / "a.onnx", takes=TensorProto.UINT8), DENSEPASS_13, CPU)
    expected = network(torch.from_numpy(images()).permute(0, 3, 1, 2).float())[0]
    torch.testing.assert_close(raw(images()).logits_KChw, expected, atol=1e-2, rtol=1e-4)


def test_probabilities_are_given_back_by_the_softmax(network: Convolutions, tmp_path: Path) -> None:
    ends_in_softmax = load_onnx(small(network, tmp_path / "a.onnx", ["Softmax"]), DENSEPASS_13, CPU)
    expected = network(Normalisation().prepare(images(), CPU))[0].softmax(1)
    found = ends_in_softmax(images()).logits_KChw.softmax(1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("then", [["Softmax"], ["Softmax", "Log"]], ids=["p", "log p"])
def test_probabilities_of_exactly_zero_become_finite_logits(
    network: Convolutions, tmp_path: Path, then: list[str]
) -> None:
    sure = Convolutions(network.stem * 1000, network.deeper, network.classifier)
    expected = sure(Normalisation().prepare(images(), CPU))[0].softmax(1)
    assert (expected == 0).any(), "no probability of zero would prove nothing"
    found = load_onnx(small(sure, tmp_path / "a.onnx", then), DENSEPASS_13, CPU)(images()).logits_KChw
    require_finite(found, "the assistant")
    torch.testing.assert_close(found.softmax(1), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    ("then", "gives", "found"),
    [
        (["ArgMax"], TensorProto.INT64, r"logits of .* holds class ids \(int64 \[1, 1, 16, 24\]\)"),
        (["ArgMax", "Cast"], TensorProto.FLOAT, r"holds class ids \(float32"),
        (["Transpose"], TensorProto.FLOAT, r"is \[1, 16, 24, 13\], channels last"),
    ],
)
def test_outputs_that_are_no_scores_are_refused_by_name(
    network: Convolutions, tmp_path: Path, then: list[str], gives: int, found: str
) -> None:
    name = small(network, tmp_path / "a.onnx", then, gives=gives)
    with pytest.raises(WeightsError, match=f"{found}.*; an assistant gives a score per class"):
        load_onnx(name, DENSEPASS_13, CPU)


def test_inputs_that_are_no_images_are_refused_by_name(network: Convolutions, tmp_path: Path) -> None:
    whole = small(network, tmp_path / "a.onnx", takes=TensorProto.INT32)
    with pytest.raises(WeightsError, match=r"the input image of .* is tensor\(int32\); it must be"):
        load_onnx(whole, DENSEPASS_13, CPU)
    last = export_channels_last(tmp_path / "b.onnx")
    with pytest.raises(WeightsError, match=r"'W', 3\], channels last"):
        load_onnx(last, DENSEPASS_13, CPU)


def export_channels_last(path: Path) -> str:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["logits"])],
        "last",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("N", "H", "W", 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("location", ["w", "weights.bin", "a.onnx.data", "long" * 40])
def test_the_identity_follows_weights_in_files_of_any_name(
    network: Convolutions, tmp_path: Path, location: str
) -> None:
    name = export(network, tmp_path / "a.onnx")
    onnx.save(onnx.load(name), name, save_as_external_data=True, location=location, size_threshold=0)
    first = load_onnx(name, DENSEPASS_13, CPU).identity
    (tmp_path / "other.bin").write_bytes(b"of no concern")
    assert onnx_identity(name) == first
    weights = bytearray((tmp_path / location).read_bytes())
    weights[0] ^= 1
    (tmp_path / location).write_bytes(weights)
    assert onnx_identity(name) != first


def test_a_file_exported_for_one_image_gets_images_one_by_one(network: Convolutions, tmp_path: Path) -> None:
    single = load_onnx(export(network, tmp_path / "a.onnx", shape=(1, 3, "H", "W")), DENSEPASS_13, CPU)
    expected = network(Normalisation().prepare(images(3), CPU))[0]
    torch.testing.assert_close(single(images(3)).logits_KChw, expected, atol=1e-5, rtol=1e-5)


def test_a_file_exported_for_one_size_says_so_when_shown_another(network: Convolutions, tmp_path: Path) -> None:
    fixed = load_onnx(export(network, tmp_path / "a.onnx", shape=("N", 3, 64, 96)), DENSEPASS_13, CPU)
    assert fixed(images()).logits_KChw.shape == (2, 13, 16, 24)
    with pytest.raises(WeightsError, match="images of 96x96 pixels"):
        fixed(images(1, 96, 96))


def test_what_is_assumed_of_pixels_is_reported_where_no_file_states_it(network: Convolutions, tmp_path: Path) -> None:
    floats = load_onnx(export(network, tmp_path / "a.onnx"), DENSEPASS_13, CPU)
    assert "ImageNet's mean and std are assumed" in floats.notes[0]
    raw = load_onnx(small(network, tmp_path / "b.onnx", takes=TensorProto.UINT8), DENSEPASS_13, CPU)
    assert raw.notes == ()


def test_normalisation_is_read_from_beside_the_file(network: Convolutions, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    assistant = load_onnx(export(network, tmp_path / "a.onnx"), DENSEPASS_13, CPU)
    expected = network(torch.from_numpy(images()).permute(0, 3, 1, 2) / 255)[0]
    torch.testing.assert_close(assistant(images()).logits_KChw, expected, atol=1e-5, rtol=1e-5)


def test_the_identity_follows_the_weights(network: Convolutions, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    first = load_onnx(export(network, path), DENSEPASS_13, CPU).identity
    other = Convolutions(network.stem + 1, network.deeper, network.classifier)
    assert load_onnx(export(other, path), DENSEPASS_13, CPU).identity != first


def test_the_identity_follows_the_normalisation(network: Convolutions, tmp_path: Path) -> None:
    name = export(network, tmp_path / "a.onnx")
    first = onnx_identity(name)
    assert load_onnx(name, DENSEPASS_13, CPU).identity == first
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0]}')
    assert onnx_identity(name) != first


def test_levels_that_the_file_does_not_give_are_refused(network: Convolutions, tmp_path: Path) -> None:
    assistant = load_onnx(export(network, tmp_path / "a.onnx"), DENSEPASS_13, CPU)
    with pytest.raises(WeightsError, match="no features of level 3, 4; it has 1, 2"):
        assistant(images(), levels=(1, 3, 4))


def test_other_classes_than_the_label_sets_are_refused(network: Convolutions, tmp_path: Path) -> None:
    config = AssistantConfig(kind="onnx", name=export(network, tmp_path / "a.onnx"), label_set="cityscapes19")
    with pytest.raises(WeightsError, match="predicts 13 classes; the label set cityscapes19 has 19"):
        load_assistant(config, CPU)


def test_a_missing_or_broken_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for name, found in (("missing.onnx", "is not a file"), ("broken.onnx", "cannot be loaded")):
        with pytest.raises(WeightsError, match=f"{name} {found}") as refusal:
            load_onnx(str(tmp_path / name), DENSEPASS_13, CPU)
        assert "\n" not in str(refusal.value)


def test_without_onnxruntime_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, network: Convolutions, tmp_path: Path
) -> None:
    path = export(network, tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(WeightsError, match=r"pip install onnxruntime"):
        load_onnx(path, DENSEPASS_13, CPU)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"no Cityscapes network in {REAL_DATA}")
def test_the_real_network_agrees_with_labels_that_it_gave_elsewhere() -> None:
    assistant = load_onnx(str(REAL), CITYSCAPES_19, CPU)
    assert assistant.feature_levels == (1, 2, 3)
    source = REAL_DATA / "panoramas" / "08b4e84c80.jpg"
    image = np.asarray(Image.open(source).resize((1024, 512), Image.Resampling.BILINEAR))
    logits = assistant(image[None]).logits_KChw
    labels = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear").argmax(1)[0].numpy()
    theirs = np.asarray(Image.open(REAL_DATA / "machine_labels" / "08b4e84c80.png"))
    assert (labels == theirs).mean() > 0.97
