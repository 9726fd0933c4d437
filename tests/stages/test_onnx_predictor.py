"""A student from an ONNX file: what it is asked and gives, what its metadata say, and what is refused.

The files here are written node by node, so that nothing has to be exported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.classes import DENSEPASS_13
from pipeline.errors import WeightsError
from pipeline.panorama.config import PanoramaConfig
from stages.models import KIND, open_model
from stages.onnx_predictor import geometry_of_training, load_onnx_student, student_facts

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FACTS: dict[str, str] = {
    "kind": KIND, "classes": json.dumps(list(DENSEPASS_13.names)), "label_set": "densepass13", "parameters": "12345",
    "working_size": "[48, 128]", "vertical_fov": "135.0",
}  # fmt: skip


def write_file(path: Path, facts: dict[str, str], input_type: str = "UINT8", factor: float = 1.0) -> Path:
    """A network whose logit of class c is c times the mean of red over cells of 4x4 pixels, times `factor`."""
    helper, types = onnx.helper, onnx.TensorProto
    images = helper.make_tensor_value_info("images", getattr(types, input_type), ["batch", 3, "height", "width"])
    logits = helper.make_tensor_value_info("logits", types.FLOAT, ["batch", 13, "h", "w"])
    weights = np.zeros((13, 3, 4, 4), np.float32)
    weights[:, 0] = np.arange(13)[:, None, None] / 16 * factor
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=types.FLOAT),
        helper.make_node("Conv", ["floats", "weights"], ["logits"], strides=[4, 4]),
    ]
    graph = helper.make_graph(nodes, "tiny", [images], [logits], [onnx.numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, facts)
    onnx.save(model, path)
    return path


def picture(height: int = 64, width: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("input_type", "scale"), [("UINT8", 1.0), ("FLOAT", 1 / 255)])
def test_pixels_go_in_as_the_file_wants_them(tmp_path: Path, input_type: str, scale: float) -> None:
    predictor = load_onnx_student(write_file(tmp_path / "model.onnx", FACTS, input_type))
    image = picture()
    logits = predictor(image)
    red = image[..., 0].astype(np.float32).reshape(16, 4, 32, 4).mean(axis=(1, 3)) * scale
    np.testing.assert_allclose(logits, np.arange(13)[:, None, None] * red, rtol=1e-4)
    assert logits.dtype == np.float32


def test_what_it_is_comes_from_its_metadata(tmp_path: Path) -> None:
    predictor = load_onnx_student(write_file(tmp_path / "model.onnx", FACTS))
    assert predictor.label_set == DENSEPASS_13
    assert predictor.parameters == 12345
    assert predictor.device.endswith("ONNX Runtime")
    assert student_facts(predictor.session) == FACTS
    assert open_model(str(tmp_path / "model.onnx")).usual == PanoramaConfig(128, vertical_fov=135.0)


def test_its_content_is_enough(tmp_path: Path) -> None:
    content = write_file(tmp_path / "model.onnx", FACTS).read_bytes()
    np.testing.assert_array_equal(
        load_onnx_student(content)(picture()), load_onnx_student(tmp_path / "model.onnx")(picture())
    )


def test_a_file_that_does_not_say_its_size_is_used_at_the_usual_one() -> None:
    assert geometry_of_training({}) == PanoramaConfig()
    assert geometry_of_training(FACTS).height == 48


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.onnx is an ONNX file, but not of a student.*goodsam export-onnx"):
        load_onnx_student(write_file(tmp_path / "model.onnx", {"kind": "something else"}))


@pytest.mark.parametrize(
    "damage", [{"classes": "[1"}, {"parameters": "many"}, {"classes": "7"}], ids=["torn", "no number", "no list"]
)
def test_damaged_metadata_are_reported_as_such(tmp_path: Path, damage: dict[str, str]) -> None:
    with pytest.raises(WeightsError, match=r"model\.onnx has damaged metadata .*they must name classes and parameters"):
        load_onnx_student(write_file(tmp_path / "model.onnx", {**FACTS, **damage}))


@pytest.mark.parametrize("lost", ["classes", "label_set", "parameters"])
def test_lost_metadata_are_named(tmp_path: Path, lost: str) -> None:
    facts = {key: value for key, value in FACTS.items() if key != lost}
    with pytest.raises(WeightsError, match=f"damaged metadata .KeyError: '{lost}'"):
        load_onnx_student(write_file(tmp_path / "model.onnx", facts))


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"model\.onnx cannot be loaded \(Protobuf parsing failed\)"):
        load_onnx_student(tmp_path / "model.onnx")


def test_numbers_that_are_none_are_no_prediction(tmp_path: Path) -> None:
    predictor = load_onnx_student(write_file(tmp_path / "model.onnx", FACTS, factor=float("nan")))
    with pytest.raises(WeightsError, match="outputs NaN or infinity"):
        predictor(picture())


def test_a_size_that_it_cannot_take_is_reported_with_those_that_it_can(tmp_path: Path) -> None:
    predictor = load_onnx_student(write_file(tmp_path / "model.onnx", FACTS))
    with pytest.raises(WeightsError, match=r"cannot predict a panorama of 128x2 pixels.*multiples of 32.*--width"):
        predictor(picture(2, 128))
