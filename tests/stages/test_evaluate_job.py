"""What is measured belongs together: students have the classes that are measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from pipeline.errors import WeightsError
from stages.measuring import measure
from tests.stages.test_evaluation_tally import job_of
from tests.stages.test_measuring import Oracle


def test_a_student_of_other_classes_is_refused_by_its_rung(tmp_path: Path) -> None:
    job = replace(job_of(tmp_path), label_set=DENSEPASS_13)
    job.require_same_classes()
    replace(job, students={"student": Oracle()}).require_same_classes()
    students = {"student_start": Oracle(), "student": Oracle(label_set=CITYSCAPES_19)}
    told = r"student predicts the 19 classes of cityscapes19; the 13 classes of densepass13 are measured"
    with pytest.raises(WeightsError, match=told):
        replace(job, students=students).require_same_classes()


def test_nothing_is_measured_with_a_student_of_other_classes(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cityscapes19"):
        measure(replace(job_of(tmp_path), students={"student": Oracle(label_set=CITYSCAPES_19)}))


def test_sets_of_the_same_names_are_the_same_classes(tmp_path: Path) -> None:
    own = LabelSet("mine", DENSEPASS_13.names, DENSEPASS_13.palette, ())
    replace(
        job_of(tmp_path), label_set=DENSEPASS_13, students={"student": Oracle(label_set=own)}
    ).require_same_classes()
