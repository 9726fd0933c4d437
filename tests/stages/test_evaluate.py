"""The evaluation of a run: named by what was measured, of the right student, and whole on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.errors import CacheError, InputError
from pipeline.evaluate import report
from stages.claims import exclusive_lock
from stages.distill import distill_job
from stages.evaluate import Evaluation, evaluate
from stages.events import Event, Note, silent
from stages.predictor import load_predictor
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import evaluation_panoramas, learning_panoramas
from stages.students import StudentFolder
from stages.training_record import RECORD
from tests.stages.small_run import small_run
from tests.stages.tiny_student import write_tiny_student

NO_STUDENT = "there is no finished student: only stage one is measured; `goodsam distill` trains one"


def run_in(folder: Path, **tables: dict[str, object]) -> Run:
    """The finished run; its evaluation draws no picture."""
    return small_run(folder, **{**tables, "evaluation": {"overlays": 0, **tables.get("evaluation", {})}})


def give_student(run: Run) -> str:
    """Make a student of random weights the one that the recipe determines; returns its name."""
    job = distill_job(run, RunReader.open(run, learning_panoramas(run.recipe)))

    def fill(folder: Path) -> None:
        write_tiny_student(folder)
        record = {"fingerprint": job.fingerprint, "working_size": [64, 128], "vertical_fov": 180.0}
        (folder / RECORD).write_text(json.dumps(record))

    job.folder.path.mkdir(parents=True, exist_ok=True)
    job.folder.finish(fill)
    run.record_student(job.fingerprint)
    return job.fingerprint


def evaluated(run: Run) -> tuple[Evaluation, list[str]]:
    """An evaluation and its notes."""
    events: list[Event] = []
    evaluation = evaluate(run, events.append)
    return evaluation, [event.text for event in events if isinstance(event, Note)]


def rungs(evaluation: Evaluation) -> list[str]:
    return [rung["name"] for rung in evaluation.metrics["ladder"]]


def test_what_is_returned_is_what_lies_in_the_folder(own_finished: Path) -> None:
    run = run_in(own_finished)
    evaluation, notes = evaluated(run)
    assert evaluation.folder == run.evaluation == run.cache / "evaluations" / evaluation.folder.name
    assert (run.folder / "eval").samefile(evaluation.folder)
    assert (evaluation.folder / "metrics.json").read_text() == report.to_json(evaluation.metrics)
    assert evaluation.metrics["run"] == "small"
    assert evaluation.metrics["student_name"] is None
    assert NO_STUDENT in notes
    written = (evaluation.folder / "doubtful.md").read_text()
    assert written.strip() and written in evaluation.table


def test_labels_that_changed_are_another_evaluation_and_the_first_one_stays(own_finished: Path) -> None:
    run = run_in(own_finished)
    first = evaluate(run, silent).folder
    assert evaluate(run, silent).folder == first
    labels = own_finished / "labels" / "9.png"
    Image.fromarray(np.zeros_like(np.asarray(Image.open(labels)))).save(labels)
    second = evaluate(run, silent)
    assert second.folder != first and (first / "metrics.json").is_file()
    assert run.results.evaluations == (first.name, second.folder.name)


def test_without_labels_stages_are_compared_with_each_other(own_finished: Path) -> None:
    evaluation, _ = evaluated(run_in(own_finished, data={"labels": ""}))
    assert rungs(evaluation) == []
    assert "assistant_blend" in evaluation.metrics["agreement"]["coverage"]


def test_the_student_of_the_recipe_is_measured_without_a_word(own_finished: Path) -> None:
    run = run_in(own_finished)
    name = give_student(run)
    evaluation, notes = evaluated(run)
    assert rungs(evaluation)[-1] == "student"
    assert evaluation.metrics["student_name"] == name
    assert evaluation.metrics["student_is_of_this_recipe"] is True
    assert not [note for note in notes if "student" in note]


def test_the_panorama_of_which_the_student_is_least_sure_is_the_most_doubtful(own_finished: Path) -> None:
    run = run_in(own_finished)
    give_student(run)
    student = load_predictor(StudentFolder(run.student).final)
    evaluation, _ = evaluated(run)
    reader = RunReader.open(run, evaluation_panoramas(run.recipe))
    for panorama_id in reader.ids:
        logits_Chw = torch.from_numpy(student(reader.image(panorama_id)))
        sure_h = logits_Chw.softmax(dim=0).amax(dim=0).mean(dim=1)
        areas_h = torch.sin(torch.pi * (torch.arange(len(sure_h)) + 0.5) / len(sure_h))
        expected = 1 - float(areas_h @ sure_h / areas_h.sum())
        assert evaluation.metrics["doubt"][panorama_id] == pytest.approx(expected, abs=1e-5)
    assert [one.doubt for one in evaluation.doubtful] == sorted(evaluation.metrics["doubt"].values(), reverse=True)


def test_the_latest_student_stands_in_for_one_that_is_not_finished_and_that_is_told(own_finished: Path) -> None:
    name = give_student(run_in(own_finished))
    evaluation, notes = evaluated(run_in(own_finished, student={"seed": 7}))
    assert (evaluation.metrics["student_name"], evaluation.metrics["student_is_of_this_recipe"]) == (name, False)
    assert [note for note in notes if note.startswith("the student was distilled with other settings")]


def test_where_what_was_learned_from_is_gone_nobody_knows_whose_student_it_is(own_finished: Path) -> None:
    name = give_student(run_in(own_finished))
    (own_finished / "photos").rename(own_finished / "elsewhere")
    evaluation, notes = evaluated(run_in(own_finished))
    assert rungs(evaluation)[-1] == "student"
    assert (evaluation.metrics["student_name"], evaluation.metrics["student_is_of_this_recipe"]) == (name, None)
    assert not [note for note in notes if "other settings" in note]


def test_students_that_differ_have_evaluations_that_differ(own_finished: Path) -> None:
    run = run_in(own_finished)
    without = evaluate(run, silent).folder
    give_student(run)
    assert evaluate(run, silent).folder != without


def test_a_folder_of_labels_that_is_not_there_is_reported_before_anything_is_written(own_finished: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        evaluate(run_in(own_finished, data={"labels": str(own_finished / "nowhere")}), silent)
    assert not (own_finished / "cache" / "evaluations").exists()


def test_a_folder_of_corrections_that_is_not_there_is_reported_before_anything_is_measured(own_finished: Path) -> None:
    run = run_in(own_finished, data={"corrections": str(own_finished / "nowhere")})
    events: list[Event] = []
    with pytest.raises(InputError, match=r"data\.corrections is .*nowhere, which is not a folder"):
        evaluate(run, events.append)
    assert not (run.cache / "evaluations").exists() and events == []


def test_an_evaluation_that_another_process_is_at_is_refused_and_records_nothing(own_finished: Path) -> None:
    run = run_in(own_finished)
    first = evaluate(run, silent).folder
    (run.folder / "results.json").unlink()
    with exclusive_lock(first, "eval"), pytest.raises(CacheError, match="another eval is already running"):
        evaluate(run, silent)
    assert run.results.evaluations == ()


def test_panoramas_that_are_not_cached_are_counted(own_finished: Path) -> None:
    Image.new("RGB", (128, 64), "gray").save(own_finished / "held_out" / "new.png")
    _, notes = evaluated(run_in(own_finished))
    assert "1 of 2 panoramas not in the cache and left out" in notes


def test_an_evaluation_that_measured_nothing_is_not_the_runs_latest(own_finished: Path) -> None:
    run = run_in(own_finished)
    Image.new("RGB", (128, 64), "gray").save(own_finished / "held_out" / "9.png")
    with pytest.raises(InputError, match=r"none of 1 panorama could be measured.*has changed since it was cached"):
        evaluate(run, silent)
    assert run.results.evaluations == ()
