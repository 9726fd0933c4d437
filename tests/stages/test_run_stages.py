"""Stages as they are called with a run: what is told of panoramas, students and damage, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.cache.schema import ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from pipeline.classes import LabelSet
from pipeline.errors import CacheError
from pipeline.student.config import StudentConfig
from pipeline.student.model import save_student, start_student
from stages.claims import exclusive_lock
from stages.distill import distill
from stages.evaluate import evaluate
from stages.events import Event, Note, StageAdvanced, StageFinished, StageStarted, silent
from stages.products import products_of
from stages.runs import Run
from stages.teacher_cache import teacher_cache
from stages.verify import verify
from tests.stages.small_run import arrays_of, discard, entry_of, make_folders, small_run


@pytest.fixture(scope="module")
def two_cached(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two cached panoramas, one of either split, and no student; not to be changed."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("runs") / "two_cached")
    for product in products_of(small_run(folder).recipe):
        for seed in (1, 2):
            discard(small_run(folder), product.name, f"panoramas/{seed}")
    assert teacher_cache(cached_run(folder), silent).products == {}
    return folder


@pytest.fixture
def folder(two_cached: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(two_cached, tmp_path / "copy")


def cached_run(folder: Path, **tables: dict[str, object]) -> Run:
    """The run of which everything is in the cache; its evaluation draws no picture."""
    evaluation = {"overlays": 0, **tables.pop("evaluation", {})}
    return small_run(folder, data={"limit": 1}, distill={"steps": 2}, evaluation=evaluation, **tables)


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def damage(run: Run) -> Path:
    """Cut a stored array short; returns its file."""
    (chunk,) = entry_of(run, MASKS, "panoramas/0").glob("runs/c*")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    return chunk


@pytest.mark.slow
def test_panoramas_that_are_not_in_the_cache_are_reported_and_left_out(folder: Path) -> None:
    run = cached_run(folder)
    run = replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, limit=0)))
    events: list[Event] = []
    student = distill(run, events.append)
    assert "2 of 3 panoramas not in the cache and left out" in notes(events)
    assert student == run.student / "final"
    assert (run.folder / "student" / "final").samefile(student)
    assert (student / "training.json").is_file()


def test_without_a_cache_every_stage_says_what_to_run_first(tmp_path: Path) -> None:
    make_folders(tmp_path)
    run = small_run(tmp_path)
    for stage in (distill, evaluate):
        with pytest.raises(CacheError, match=r"has no teacher cache.*Run `goodsam teacher-cache` first"):
            stage(run, silent)
    with pytest.raises(CacheError):
        verify(run)


@pytest.mark.parametrize("stage", ["distill", "eval"])
def test_one_process_at_a_time_works_on_a_folder(folder: Path, stage: str) -> None:
    run = cached_run(folder)
    work = {"distill": distill, "eval": evaluate}[stage]

    def second(event: Event) -> None:
        if isinstance(event, StageStarted):
            work(run, silent)

    with pytest.raises(CacheError, match=f"another {stage} is already running"):
        work(run, second)


def test_before_there_is_a_student_stage_one_is_measured_and_that_is_reported(folder: Path) -> None:
    events: list[Event] = []
    run = cached_run(folder)
    table = evaluate(run, events.append).table
    assert "there is no finished student: only stage one is measured; `goodsam distill` trains one" in notes(events)
    assert "ensemble" in table
    assert "student" not in table
    facts = json.loads((run.evaluation / "metrics.json").read_text())
    assert facts["student_is_of_this_recipe"] is None
    assert (run.folder / "recipe.toml").is_file()


@pytest.mark.slow
def test_a_student_of_other_settings_is_measured_and_reported(folder: Path) -> None:
    run = cached_run(folder)
    distill(run, silent)
    events: list[Event] = []
    assert "student" in evaluate(run, events.append).table
    assert not [note for note in notes(events) if "student" in note]
    other = cached_run(folder, student={"seed": 7})
    assert "student" in evaluate(other, events.append).table
    assert any(note.startswith("the student was distilled with other settings") for note in notes(events))


def test_what_the_students_start_lacks_is_reported_where_the_start_is_measured(folder: Path) -> None:
    start = folder / "start"
    save_student(start_student(StudentConfig(size="tiny"), LabelSet("other", ("road",), ((0, 0, 0),), ())).model, start)
    run = cached_run(folder, evaluation={"student_start": True}, student={"weights": str(start)})
    events: list[Event] = []
    assert "student start" in evaluate(run, events.append).table
    assert any("have 1 of the 13 classes" in note for note in notes(events))


@pytest.mark.slow
def test_label_files_of_no_panorama_are_reported_but_not_where_panoramas_were_left_out_on_purpose(folder: Path) -> None:
    Image.new("L", (128, 64)).save(folder / "labels" / "nobody.png")
    events: list[Event] = []
    evaluate(cached_run(folder), events.append)
    assert not [note for note in notes(events) if "nobody" in note]
    run = cached_run(folder)
    evaluate(replace(run, recipe=replace(run.recipe, data=replace(run.recipe.data, limit=0))), events.append)
    assert [note for note in notes(events) if "nobody" in note]


def test_a_sound_cache_has_no_problems_and_every_entry_is_read(two_cached: Path) -> None:
    events: list[Event] = []
    assert verify(cached_run(two_cached), events.append) == []
    assert len([event for event in events if isinstance(event, StageAdvanced)]) == 2 * len(
        products_of(cached_run(two_cached).recipe)
    )
    assert isinstance(events[-1], StageFinished)


def test_damage_is_named_and_stays_until_its_removal_is_asked_for(folder: Path) -> None:
    run = cached_run(folder)
    damage(run)
    (problem,) = verify(run)
    assert "panoramas/0" in problem
    assert verify(run) == [problem]
    assert verify(run, remove=True) == [problem]
    assert verify(run) == []
    left = {key[:2] for key in arrays_of(run)}
    assert {id_ for product, id_ in left if product == MASKS} == {"evaluation/9"}
    assert len([id_ for product, id_ in left if product == ENSEMBLE]) == 2


def test_nothing_is_removed_while_stage_one_works(folder: Path) -> None:
    run = cached_run(folder)
    chunk = damage(run)
    with exclusive_lock(run.folder, "teacher-cache", run.cache):
        assert len(verify(run)) == 1
        with pytest.raises(CacheError, match="another teacher-cache is already running"):
            verify(run, remove=True)
    assert chunk.is_file()


def test_a_lost_description_of_a_group_is_reported_and_written_anew(folder: Path) -> None:
    run = cached_run(folder)
    group = run.store / "ensemble" / "zarr.json"
    group.unlink()
    (problem,) = verify(run, remove=True)
    assert problem.startswith(str(group.resolve()))
    assert group.is_file()
    assert verify(run) == []


def test_an_empty_cache_is_not_called_sound(tmp_path: Path) -> None:
    make_folders(tmp_path)
    run = small_run(tmp_path)
    TeacherStore.open(run.store, "a")
    events: list[Event] = []
    assert verify(run, events.append) == []
    assert any("there was nothing to check" in note for note in notes(events))
