"""Stage two of a run: which student a recipe determines, and that a finished one is found and not trained again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import CacheError, InputError, WeightsError
from pipeline.student.model import save_student, start_student
from stages.distill import distill, distill_job, note_left_out
from stages.events import Event, Note, StageStarted, silent
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama, learning_panoramas
from stages.training import DistillJob
from stages.training_record import RECORD
from tests.stages.small_run import discard, small_run


def job_of(run: Run) -> DistillJob:
    return distill_job(run, RunReader.open(run, learning_panoramas(run.recipe)))


def finish(run: Run) -> Path:
    """Put a finished student where the recipe's goes; returns its folder."""
    folder = job_of(run).folder
    folder.path.mkdir(parents=True, exist_ok=True)
    record = json.dumps({"fingerprint": folder.path.name, "set_aside": {}})

    def fill(final: Path) -> None:
        (final / RECORD).write_text(record)

    folder.finish(fill)
    return folder.final


def test_the_job_is_of_the_recipe_and_of_what_is_cached(finished: Path) -> None:
    run = small_run(finished)
    job = job_of(run)
    assert job.ids == ("panoramas/0", "panoramas/1", "panoramas/2")
    assert job.students == run.cache / "students"
    assert (job.seed, job.device, job.corrections_fingerprint) == (1, "cpu", "")
    assert job.label_set == run.recipe.classes
    sample = job.read_sample("panoramas/0")
    assert sample.image_HW3.shape == (64, 128, 3)


@pytest.mark.parametrize(
    "tables",
    [
        {"student": {"seed": 2}},
        {"losses": {"boundary": 0.25}},
        {"distill": {"steps": 5}},
        {"distill": {"learning_rate": 0.5}},
        {"student": {"size": "b0"}},
        {"student": {"scale": 1.5}},
    ],
    ids=str,
)
def test_settings_that_change_the_student_change_its_name(finished: Path, tables: dict[str, dict[str, object]]) -> None:
    assert job_of(small_run(finished, **tables)).fingerprint != job_of(small_run(finished)).fingerprint


@pytest.mark.parametrize(
    "tables",
    [
        {"distill": {"log_every": 3}},
        {"distill": {"checkpoint_every": 1}},
        {"evaluation": {"overlays": 7}},
        {"data": {"evaluation": ""}},
        {"data": {"labels": ""}},
        {"student": {"scale": 1.0}},
    ],
    ids=str,
)
def test_settings_that_do_not_change_the_student_keep_its_name(
    finished: Path, tables: dict[str, dict[str, object]]
) -> None:
    assert job_of(small_run(finished, **tables)).fingerprint == job_of(small_run(finished)).fingerprint


def test_a_student_of_fewer_panoramas_is_another(own_finished: Path) -> None:
    run = small_run(own_finished)
    before = job_of(run)
    discard(run, "ensemble", "panoramas/1")
    after = job_of(run)
    assert after.ids == ("panoramas/0", "panoramas/2")
    assert after.fingerprint != before.fingerprint


def test_the_name_of_the_run_does_not_change_its_student(finished: Path) -> None:
    run = small_run(finished)
    renamed = replace(run, recipe=replace(run.recipe, name="other"))
    assert job_of(renamed).fingerprint == job_of(run).fingerprint


def test_a_finished_student_is_found_and_becomes_the_runs_latest(own_finished: Path) -> None:
    run = small_run(own_finished)
    final = finish(run)
    other = small_run(own_finished, student={"seed": 7})
    finish(other)
    events: list[Event] = []
    for each in (run, other, run):
        distill(each, events.append)
    assert not [event for event in events if isinstance(event, StageStarted)]
    assert next(event.text for event in events if isinstance(event, Note)) == f"{final} is finished; nothing to do"
    assert run.results.students == (job_of(other).fingerprint, job_of(run).fingerprint)
    assert (run.folder / "student" / "final").samefile(final)
    assert 'name = "small"' in (run.folder / "recipe.toml").read_text()


def test_a_refused_student_leaves_the_run_with_the_one_that_it_has(own_finished: Path) -> None:
    run = small_run(own_finished)
    final = finish(run)
    distill(run, silent)
    before = (run.folder / "recipe.toml").read_text()
    start = start_student(run.recipe.student, run.recipe.classes).model
    torch.nn.init.constant_(next(start.parameters()), float("nan"))
    save_student(start, own_finished / "start")
    refused = small_run(own_finished, student={"weights": str(own_finished / "start")})
    with pytest.raises(WeightsError, match="NaN"):
        distill(refused, silent)
    assert run.results.students == (final.parent.name,)
    assert (run.folder / "student" / "final").samefile(final)
    assert (run.folder / "recipe.toml").read_text() == before


def test_without_panoramas_or_their_cache_nothing_is_written(own_finished: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        distill(small_run(own_finished, data={"panoramas": str(own_finished / "nowhere")}), silent)
    with pytest.raises(CacheError, match=r"Run `goodsam teacher-cache` (first|again)"):
        distill(small_run(own_finished, fusion={"theta": 0.123}), silent)
    assert not (own_finished / "cache" / "students").exists()


def test_what_is_not_cached_is_counted_and_only_then(tmp_path: Path) -> None:
    events: list[Event] = []
    wanted = [SplitPanorama(f"panoramas/{number}", tmp_path) for number in range(3)]
    note_left_out("distill", wanted, ["panoramas/0", "panoramas/1", "panoramas/2"], events.append)
    assert events == []
    note_left_out("distill", wanted, ["panoramas/1"], events.append)
    assert events == [Note("distill", "2 of 3 panoramas not in the cache and left out")]
