"""The report of a run: what its student predicts and what people labelled, beside the ensemble; and what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, IGNORE, LabelSet
from pipeline.evaluate.metrics import labels_at
from pipeline.settings import fingerprint
from stages.events import Event, ItemFailed, Note
from stages.label_files import write_labels
from stages.predictor import load_predictor
from stages.reading import RunReader
from stages.report.run_source import RunReport, RunReportOptions, run_report
from stages.runs import Run
from stages.splits import all_panoramas
from tests.stages.small_run import small_run
from tests.stages.tiny_student import write_tiny_student


def with_student(folder: Path, labels: LabelSet = DENSEPASS_13, seed: int = 0) -> Run:
    """The run of a finished stage one, with a student that has not learned."""
    run = small_run(folder)
    final = write_tiny_student(run.folder / "student" / "final", seed, labels)
    (final / "training.json").write_text(json.dumps({"fingerprint": f"{labels.name} {seed}"}))
    return run


def reported(run: Run, **options: bool) -> tuple[RunReport, list[Event]]:
    """What a report is made from, and what was told."""
    events: list[Event] = []
    return run_report(run, RunReportOptions(**options), events.append), events  # type: ignore[arg-type]


def layer(found: RunReport, panorama: str, name: str) -> np.ndarray:
    maps = next(own.maps for own in found.source.panoramas if own.id == panorama)
    return np.asarray(Image.open(maps[name]))


def with_layer(found: RunReport, name: str) -> list[str]:
    return [own.id for own in found.source.panoramas if name in own.maps]


def notes(events: list[Event]) -> str:
    return " ".join(event.text for event in events if isinstance(event, Note))


def test_maps_of_student_and_truth_are_those_that_are_measured(own_finished: Path) -> None:
    run = with_student(own_finished)
    found, _ = reported(run)
    assert with_layer(found, "student") == ["evaluation/9", "panoramas/0", "panoramas/1", "panoramas/2"]
    assert with_layer(found, "truth") == ["evaluation/9"]
    truth = np.asarray(Image.open(own_finished / "labels" / "9.png"))
    np.testing.assert_array_equal(layer(found, "evaluation/9", "truth"), truth)
    image_HW3 = RunReader.open(run, all_panoramas(run.recipe)).image("panoramas/1")
    predicted = labels_at(load_predictor(run.student / "final")(image_HW3), *image_HW3.shape[:2])
    np.testing.assert_array_equal(layer(found, "panoramas/1", "student"), predicted)
    assert found.source.notes == () and found.source.maps_are_level
    assert found.source.panoramas[0].picture == own_finished / "held_out" / "9.png"


def test_a_rerun_writes_nothing_and_another_student_all(own_finished: Path) -> None:
    run = with_student(own_finished)

    def times() -> list[int]:
        found, _ = reported(run)
        return [own.maps[kind].stat().st_mtime_ns for own in found.source.panoramas
                for kind in ("student", "truth", "assistant") if kind in own.maps]  # fmt: skip

    first = times()
    assert times() == first
    before = layer(reported(run)[0], "panoramas/0", "student")
    with_student(own_finished, seed=1)
    assert (layer(reported(run)[0], "panoramas/0", "student") != before).any()


def test_a_student_that_was_trained_anew_under_the_same_name_is_shown_as_it_is_now(own_finished: Path) -> None:
    run = with_student(own_finished)
    before = layer(reported(run)[0], "panoramas/0", "student")
    record = (run.student / "final" / "training.json").read_bytes()
    with_student(own_finished, seed=1)
    (run.student / "final" / "training.json").write_bytes(record)
    assert (layer(reported(run)[0], "panoramas/0", "student") != before).any()


@pytest.mark.parametrize("trained_anew", [False, True])
def test_maps_of_earlier_versions_are_kept_unless_the_student_is_younger(
    own_finished: Path, trained_anew: bool
) -> None:
    run = with_student(own_finished)
    reported(run)
    maps = sorted((run.folder / "report-layers" / "student").rglob("*.png"))
    reader = RunReader.open(run, all_panoramas(run.recipe))
    for path in maps:
        id_ = path.relative_to(run.folder / "report-layers" / "student").with_suffix("").as_posix()
        named = fingerprint(1, reader.only_of([id_]).content_fingerprint(), f"{DENSEPASS_13.name} 0")
        write_labels(path, np.zeros((64, 128), np.uint8), DENSEPASS_13, {"made_of": named})
    if trained_anew:
        with_student(own_finished)
    reported(run)
    assert [not np.asarray(Image.open(path)).any() for path in maps] == [not trained_anew] * 4


def test_the_assistant_is_shown_without_sam(own_finished: Path) -> None:
    run = small_run(own_finished)
    teacher = RunReader.open(run, all_panoramas(run.recipe)).teacher("panoramas/2")
    expected = np.where(teacher.ensemble_HW == IGNORE, IGNORE, teacher.assistant_CHW.argmax(axis=0))
    np.testing.assert_array_equal(layer(reported(run)[0], "panoramas/2", "assistant"), expected)


@pytest.mark.parametrize("fault", ["other classes", "not a number", "damaged"])
def test_a_student_that_cannot_be_used_is_told_and_left_out(fault: str, own_finished: Path) -> None:
    run = with_student(own_finished, CITYSCAPES_19 if fault == "other classes" else DENSEPASS_13)
    weights = run.student / "final" / "model.safetensors"
    if fault == "not a number":
        broken = {name: value * torch.nan if value.is_floating_point() else value
                  for name, value in load_file(weights).items()}  # fmt: skip
        save_file(broken, weights, {"format": "pt"})
    if fault == "damaged":
        weights.write_bytes(b"nothing")
    found, events = reported(run)
    assert with_layer(found, "student") == [] and with_layer(found, "assistant")
    assert "the layer of the student is left out: " in notes(events)
    assert found.source.notes == ("The run's student cannot be used: the command that wrote this report says why.",)


def test_labels_that_cannot_be_used_are_told_and_left_out(own_finished: Path) -> None:
    (own_finished / "labels" / "9.png").write_bytes(b"no picture")
    found, events = reported(small_run(own_finished))
    assert with_layer(found, "truth") == []
    assert [event.item for event in events if isinstance(event, ItemFailed)] == ["evaluation/9"]
    shutil.rmtree(own_finished / "labels")
    found, events = reported(small_run(own_finished))
    assert "the layer of people's labels is left out: " in notes(events) and with_layer(found, "labels")
