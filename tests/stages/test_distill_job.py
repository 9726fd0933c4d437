"""The name of a student follows all that decides its weights, and nothing else."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from pipeline.student.config import OPTIONAL_LOSSES, OPTIONAL_TRAINING, StudentConfig
from pipeline.student.model import save_student, start_student
from tests.stages.test_training import toy_job
from tests.student.toy import TOY


def test_a_setting_that_came_later_is_in_no_name_at_its_default(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    assert not OPTIONAL_TRAINING.keys() & job.effective_training.keys()
    assert not OPTIONAL_LOSSES.keys() & job.effective_losses.keys()
    assert job.fingerprint == "7d11cb0a4df7281e"  # as before there were such settings
    changed: list[dict[str, dict[str, Any]]] = [
        {"distill": {"average": 0.5}}, {"losses": {"feature_form": "channels"}}, {"losses": {"edge_share": 0.2}},
    ]  # fmt: skip
    assert len({job.fingerprint, *(toy_job(tmp_path, **change).fingerprint for change in changed)}) == 4


def test_how_often_is_saved_and_logged_does_not_change_the_students_name(tmp_path: Path) -> None:
    name = toy_job(tmp_path).fingerprint
    assert (
        toy_job(tmp_path, distill={"log_every": 1, "checkpoint_every": 7, "sample_memory_gb": 9.0}).fingerprint == name
    )
    assert toy_job(tmp_path, distill={"learning_rate": 1e-4}).fingerprint != name
    assert toy_job(tmp_path, data_fingerprint="other").fingerprint != name
    assert toy_job(tmp_path, ids=("a", "b", "c", "d", "e")).fingerprint == name  # named otherwise, the same content


def test_the_students_name_follows_the_content_of_its_start_and_not_its_place(tmp_path: Path) -> None:
    def name(start: Path) -> str:
        return toy_job(tmp_path, student=StudentConfig(size="tiny", weights=str(start))).fingerprint

    here, there = tmp_path / "here", tmp_path / "there"
    save_student(start_student(StudentConfig(size="tiny"), TOY).model, here)
    shutil.copytree(here, there)
    first = name(here)
    assert name(there) == first != toy_job(tmp_path).fingerprint
    save_student(start_student(StudentConfig(size="tiny"), TOY).model, there)
    assert name(there) != first


def test_what_decides_the_weights_names_the_student(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    others = [
        dataclasses.replace(job, **change)
        for change in ({"seed": 2}, {"corrections_fingerprint": "people"}, {"data_fingerprint": "other"},
                       {"label_set": dataclasses.replace(TOY, names=("a", "b", "c"))},
                       {"student": StudentConfig(size="b0")}, {"student": StudentConfig(size="tiny", scale=2.0)})
    ]  # fmt: skip
    assert len({job.fingerprint, *(other.fingerprint for other in others)}) == 7
    for change in ({"device": "cuda"}, {"students": tmp_path / "other"}, {"vertical_fov": 90.0}):
        assert dataclasses.replace(job, **change).fingerprint == job.fingerprint


def test_the_weight_of_corrections_has_an_effect_only_where_there_are_any(tmp_path: Path) -> None:
    for corrections, has_effect in (("", False), ("people", True)):
        one, other = (toy_job(tmp_path, corrections_fingerprint=corrections, losses={"corrections": weight})
                      for weight in (0.5, 2.0))  # fmt: skip
        assert (one.fingerprint != other.fingerprint) == has_effect
        assert ("corrections" in one.effective_losses) == has_effect


def test_a_student_lies_in_the_folder_of_its_name(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    assert job.folder.path == tmp_path / job.fingerprint
