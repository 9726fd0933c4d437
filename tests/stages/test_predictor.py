"""A student as a function from panorama to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import WeightsError
from pipeline.student.config import StudentConfig
from pipeline.student.model import save_student, start_student
from stages.predictor import StudentPredictor, load_predictor
from tests.student.toy import TOY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("student")
    save_student(start_student(StudentConfig("tiny"), TOY).model, folder)
    return folder


@pytest.fixture
def predictor(folder: Path) -> StudentPredictor:
    return load_predictor(folder)


def test_a_panorama_gets_scores_at_a_quarter_of_its_resolution(predictor: StudentPredictor) -> None:
    scores = predictor(np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8))
    assert scores.shape == (len(TOY), 8, 16) and scores.dtype == np.float32


def test_classes_and_size_are_those_of_the_network(predictor: StudentPredictor) -> None:
    assert predictor.label_set.names == TOY.names
    assert predictor.parameters == sum(weights.numel() for weights in predictor.model.parameters())
    assert predictor.device.startswith("the CPU, ")


def test_numbers_that_are_none_are_refused_with_the_students_folder(predictor: StudentPredictor, folder: Path) -> None:
    with torch.no_grad():
        predictor.model.decode_head.classifier.weight.fill_(float("nan"))
    with pytest.raises(WeightsError, match=f"the student {folder} outputs NaN or infinity"):
        predictor(np.zeros((32, 64, 3), np.uint8))


def test_a_folder_without_a_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no student"):
        load_predictor(tmp_path)
