"""The graph that is exported is the student as it predicts: the same logits of raw pixels, at any size."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import SegformerForSemanticSegmentation

from pipeline.errors import WeightsError
from pipeline.student.model import STRIDE, load_student, predict_logits
from pipeline.student.onnx_graph import INPUT_TYPES, MINIMUM_SIZE, PanoramaGraph, student_onnx
from tests.stages.tiny_student import write_tiny_student
from tests.student.segformers import as_segformer


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> SegformerForSemanticSegmentation:
    return as_segformer(load_student(write_tiny_student(tmp_path_factory.mktemp("student"))))


def noise(height: int, width: int, batch: int = 1) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (batch, 3, height, width)).astype(np.uint8))


@torch.no_grad()
def logits(student: SegformerForSemanticSegmentation, images: Tensor) -> Tensor:
    return PanoramaGraph(student)(images)


@pytest.mark.parametrize("size", [MINIMUM_SIZE, (64, 96), (32, 160), (96, 256)], ids=str)
def test_logits_are_those_of_the_student_at_any_size(
    student: SegformerForSemanticSegmentation, size: tuple[int, int]
) -> None:
    images = noise(*size, batch=2)
    found = logits(student, images)
    assert found.shape == (2, 13, size[0] // STRIDE, size[1] // STRIDE)
    torch.testing.assert_close(found, predict_logits(student, images.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-4)


def test_floats_of_0_to_1_are_the_same_picture(student: SegformerForSemanticSegmentation) -> None:
    assert set(INPUT_TYPES) == {"uint8", "float32"}
    images = noise(64, 96)
    torch.testing.assert_close(logits(student, images.float() / 255), logits(student, images))


def test_brightness_makes_a_difference(student: SegformerForSemanticSegmentation) -> None:
    images = noise(32, 64)
    assert (logits(student, images) - logits(student, images // 2)).abs().max() > 1e-3


def test_without_onnxscript_it_says_how_to_install_it(
    student: SegformerForSemanticSegmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(WeightsError, match=r"onnxscript is not installed.*pip install onnx onnxscript"):
        student_onnx(student, "uint8", {})


def test_a_network_that_cannot_be_traced_is_refused_in_one_sentence(
    student: SegformerForSemanticSegmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nin a long trace")

    monkeypatch.setattr(torch.export, "export", fails)
    with pytest.raises(WeightsError, match=r"the student cannot be exported \(.*no such operator\)"):
        student_onnx(student, "uint8", {})
