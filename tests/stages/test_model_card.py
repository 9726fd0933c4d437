"""The model card: what the hub reads, and what people must know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from pipeline.classes import DENSEPASS_13
from pipeline.student.config import DistillConfig, LossConfig, StudentConfig
from pipeline.student.model import start_student
from stages.distill_job import DistillJob
from stages.model_card import model_card, write_model_card
from stages.progress import Progress
from stages.saved_student import write_student
from tests.stages.test_export_onnx import TRAINING

METRICS: dict[str, Any] = {
    "student_name": "street", "labelled": 8, "labels_by": "people",
    "ladder": [{"name": "student", "miou": 0.608, "miou_solid_angle": 0.6, "pixel_accuracy": 0.9312,
                "per_class_iou": {"road": 0.95, "sky": None}}],
}  # fmt: skip


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "students" / "street" / "final"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(DENSEPASS_13.names))}))
    (folder / "training.json").write_text(json.dumps(TRAINING))
    return folder


def write_metrics(student: Path, **changes: object) -> Path:
    path = student.parents[2] / "evaluations" / "some" / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(METRICS | changes))
    return path


def test_its_header_is_what_the_hub_reads_and_leaves_the_licence_open(student: Path) -> None:
    _, header, text = model_card(student).split("---\n", 2)
    read = yaml.safe_load(header)
    assert read["library_name"] == "transformers" and read["pipeline_tag"] == "image-segmentation"
    assert "goodsam" in read["tags"] and "license" not in read
    assert text.startswith("\n# ") and "## Licence\n\nTo be filled in" in text


def test_it_names_classes_data_and_training(student: Path) -> None:
    card = model_card(student)
    assert "| 0 | road | #804080 |" in card
    assert "7 unlabelled panoramas, resized to 128x48 pixels, with a vertical field of view of 135 degrees" in card
    assert "9 steps of 2 panoramas, learning rate 0.0001, seed 3" in card and "| total | 1.2500 |" in card
    assert "## Measured" not in card


def test_it_has_the_figures_of_its_evaluation(student: Path) -> None:
    write_metrics(student)
    card = model_card(student)
    assert "On 8 labelled panoramas (labels by people)" in card
    assert (
        "| mIoU | 60.8 |" in card and "| road | 95.0 |" in card and "| sky | " not in card.partition("## Measured")[2]
    )


def test_it_has_no_figures_of_another_student(student: Path) -> None:
    path = write_metrics(student, student_name="another")
    assert "## Measured" not in model_card(student)
    write_metrics(student)
    os.utime(path, (0, 0))  # measured before this student was finished
    assert "## Measured" not in model_card(student)


def test_agreement_with_a_network_is_not_called_truth(student: Path) -> None:
    write_metrics(student, labels_by="network")
    assert "labels by a network, with which these figures are agreement" in model_card(student)


def test_a_students_folder_without_a_record_has_a_card_too(student: Path) -> None:
    (student / "training.json").unlink()
    card = model_card(student)
    assert "distilled" not in card and "## Training" not in card and "| 12 | car |" in card


def test_somebodys_own_readme_stays_and_ours_is_written_anew(student: Path) -> None:
    assert write_model_card(student)
    assert write_model_card(student)
    (student / "README.md").write_text("# Mine\n")
    assert not write_model_card(student)
    assert (student / "README.md").read_text() == "# Mine\n"


def test_distillation_ends_with_a_card(tmp_path: Path) -> None:
    settings = StudentConfig("tiny"), LossConfig(), DistillConfig(steps=3)
    unread: Any = None
    job = DistillJob(tmp_path / "mine", ("one",), unread, "data", DENSEPASS_13, *settings, seed=1)
    trainee: Any = SimpleNamespace(student=start_student(job.student, DENSEPASS_13).model)
    progress = Progress(3, {"total": 0.5})
    job.folder.finish(lambda folder: write_student(folder, job, trainee, (64, 128), progress))
    card = (job.folder.final / "README.md").read_text()
    assert (
        f"\n# Student {job.fingerprint}\n" in card
        and "1 unlabelled panoramas, resized to 128x64" in card
        and "| total | 0.5000 |" in card
    )
