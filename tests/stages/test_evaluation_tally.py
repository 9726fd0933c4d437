"""What an evaluation counts: each panorama once, and in metrics.json only what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline.classes import IGNORE, LabelSet
from pipeline.evaluate import report
from stages.evaluate_job import EvaluateJob
from stages.evaluation_tally import EvaluationTally
from stages.rungs import TeacherArrays
from tests.stages.test_measuring import Oracle

TWO = LabelSet("two", ("road", "wall"), ((0, 0, 0), (255, 255, 255)), thin=())
TRUTH = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.uint8)
HALF_WRONG = np.array([[0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)


def job_of(tmp_path: Path, **students: Oracle) -> EvaluateJob:
    def never(id_: str) -> None:
        pytest.fail(f"read {id_}")

    return EvaluateJob(ids=("a", "b"), label_set=TWO, out=tmp_path, open_image=never, open_labels=never,  # type: ignore[arg-type]
                       read_teacher=never, read_masks=never, students=students, overlays=0, facts={"run": "test"})  # type: ignore[arg-type]  # fmt: skip


def teacher(agreement_W: tuple[float, ...] = (0.5,), ignored_W: tuple[bool, ...] = (False,)) -> TeacherArrays:
    """Stage one with an agreement, and with ignored pixels, by column."""
    zeros_CHW, shape = np.zeros((2, 2, 4), np.float32), (2, 4)
    agreement_HW = np.broadcast_to(np.array(agreement_W, np.float32), shape)
    return TeacherArrays(zeros_CHW, zeros_CHW, agreement_HW, np.zeros(shape, np.uint8), np.ones(shape, np.bool_),
                         np.broadcast_to(np.array(ignored_W), shape))  # fmt: skip


def rungs(before: np.ndarray = HALF_WRONG, after: np.ndarray = TRUTH) -> dict[str, np.ndarray]:
    return {"assistant_blend": before, "ensemble": after}


def by_name(metrics: Mapping[str, object]) -> dict[str, dict[str, float]]:
    ladder: list[dict[str, float]] = metrics["ladder"]  # type: ignore[assignment]
    return {str(rung["name"]): rung for rung in ladder}


def test_labelled_panoramas_make_the_ladder_and_each_has_its_own_figures(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    tally.add("a", rungs(), TRUTH, teacher(), None)
    tally.add("b", rungs(after=HALF_WRONG), TRUTH, teacher(), None)
    metrics = tally.metrics()
    assert (metrics["images"], metrics["labelled"], metrics["run"]) == (2, 2, "test")
    assert by_name(metrics)["ensemble"]["pixel_accuracy"] == pytest.approx(0.75)
    own = {panorama["id"]: panorama["rungs"] for panorama in metrics["panoramas"]}
    assert own["a"]["ensemble"]["miou"] == 1 and own["b"]["ensemble"]["miou"] == pytest.approx(0.25)
    assert report.to_json(metrics) and json.loads(report.to_json(metrics))["label_set"] == "two"


def test_what_the_masks_change_is_told_class_by_class(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    tally.add("a", rungs(), TRUTH, teacher(), None)
    changes = tally.metrics()["class_changes"]
    assert (changes["from"], changes["to"]) == ("assistant_blend", "ensemble")
    wall = next(own for own in changes["classes"] if own["name"] == "wall")
    assert (wall["before"], wall["after"]) == (0, 1)


def test_without_labels_rungs_are_compared_with_each_other_alone(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    tally.add("a", rungs(), None, teacher((0.25,)), None)
    metrics = tally.metrics()
    assert (metrics["images"], metrics["labelled"], metrics["ladder"], metrics["panoramas"]) == (1, 0, [], [])
    assert "class_changes" not in metrics and "yaw" not in metrics and "categories" not in metrics
    assert metrics["agreement"]["window_agreement"] == pytest.approx(0.25)


def test_controls_are_measured_and_are_no_rungs_to_compare(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    tally.add("a", {**rungs(), "majority_of_the_truth": TRUTH}, TRUTH, teacher(), None)
    metrics = tally.metrics()
    assert "majority_of_the_truth" in by_name(metrics)
    assert "majority_of_the_truth" not in json.dumps(metrics["agreement"])


def test_ignored_pixels_do_not_count_in_the_agreement(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    tally.add("a", rungs(), None, teacher((1, 1, 0, 0), (False, False, True, True)), None)
    assert tally.metrics()["agreement"]["window_agreement"] == pytest.approx(1)


def test_maps_at_the_truths_size_count_with_the_teachers_arrays(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path))
    large = {name: labels.repeat(2, 0).repeat(2, 1) for name, labels in rungs().items()}
    truth = TRUTH.repeat(2, 0).repeat(2, 1)
    truth[0] = IGNORE
    tally.add("a", large, truth, teacher(), None)
    assert by_name(tally.metrics())["ensemble"]["miou"] == 1


def test_a_student_is_told_with_its_cost_and_what_was_set_aside_with_its_reason(tmp_path: Path) -> None:
    tally = EvaluationTally(job_of(tmp_path, student=Oracle()))
    tally.seconds["student"] += [0.5, 0.001, 0.002]
    tally.failed["b"] = "it is broken"
    metrics = tally.metrics()
    assert metrics["student"] == {"parameters": 42, "milliseconds_per_panorama": 2.0, "device": "cpu, 1 threads"}
    assert metrics["set_aside"] == {"b": "it is broken"}
