"""What no run refers to is found, shown and removed; what a run refers to never is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import CacheError
from stages.claims import exclusive_lock
from stages.events import silent
from stages.garbage import find_garbage, remove_garbage
from stages.runs import Run
from stages.teacher_cache import teacher_cache
from tests.stages.small_run import arrays_of, small_run


@pytest.fixture(scope="module")
def two_runs(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two runs that share masks and assistant; not to be changed."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("runs") / "two")
    assert teacher_cache(other_run(folder), silent).products == {"ensemble": 4}
    return folder


@pytest.fixture
def folder(two_runs: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(two_runs, tmp_path / "copy")


def other_run(folder: Path) -> Run:
    return Run(small_run(folder, fusion={"theta": 0.9}).recipe, folder / "cache" / "other")


def reasons(folder: Path) -> list[str]:
    return [garbage.reason for garbage in find_garbage(folder / "cache")]


def test_what_runs_refer_to_is_no_garbage(two_runs: Path) -> None:
    assert find_garbage(two_runs / "cache") == []


def test_of_a_deleted_run_only_what_no_other_shares_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = arrays_of(small_run(folder))
    student, evaluation = other_run(folder).record_student("a" * 16), other_run(folder).record_evaluation("e" * 16)
    for path in (student, evaluation):
        path.mkdir(parents=True)
        (path / "file").write_text("content")
    assert reasons(folder) == []
    shutil.rmtree(folder / "cache" / "other")
    assert sorted(reasons(folder)) == [
        "ensemble of settings that no run has now", "evaluation that no run has",
        "student that no run has"]  # fmt: skip
    monkeypatch.chdir(folder)
    found = find_garbage(Path("cache"))
    assert not [garbage.path for garbage in found if garbage.path.is_absolute()], "they are told as the cache is"
    removed = remove_garbage(folder / "cache")
    assert len(removed) == 3
    assert all(garbage.size > 0 and not garbage.path.exists() for garbage in removed)
    assert find_garbage(folder / "cache") == []
    assert arrays_of(small_run(folder)).keys() == before.keys()
    assert teacher_cache(small_run(folder), silent).products == {}
    assert teacher_cache(other_run(folder), silent).products == {"ensemble": 4}


def test_networks_under_names_of_people_are_no_garbage(folder: Path) -> None:
    for name in ("assistants/city", "students/kept", "evaluations/of june", "assistants/0123456789abcdef"):
        (folder / "cache" / name).mkdir(parents=True)
    assert [garbage.path.name for garbage in find_garbage(folder / "cache")] == ["0123456789abcdef"]


def test_students_that_recipes_name_are_no_garbage(folder: Path) -> None:
    first, second = (folder / "cache" / "students" / (digit * 16) / "final" for digit in "12")
    for student in (first, second):
        student.mkdir(parents=True)
    assert reasons(folder) == ["student that no run has"] * 2
    small_run(folder, student={"weights": str(first)}).record_recipe()
    assert [garbage.path for garbage in find_garbage(folder / "cache")] == [second.parent]
    (folder / "cache" / "other" / "recipe.toml").write_text(f'[assistant]\nname = "{second}"\n')
    assert reasons(folder) == []


def test_panoramas_that_are_gone_are_garbage_once_the_run_knows(folder: Path) -> None:
    (folder / "photos" / "1.png").unlink()
    runs = [small_run(folder, data={"panoramas": str(folder / "photos")}), other_run(folder)]
    (folder / "cache" / "other" / "panoramas.jsonl").unlink()
    (folder / "cache" / "small" / "panoramas.jsonl").unlink()
    for run in runs:
        teacher_cache(run, silent)
    assert sorted(set(reasons(folder))) == [
        f"{name} of a panorama that no run has now" for name in ("assistant", "ensemble", "masks")
    ]
    remove_garbage(folder / "cache")
    assert reasons(folder) == []
    assert teacher_cache(runs[0], silent).products == {}


def test_nothing_is_removed_while_a_stage_works_and_none_begins_meanwhile(folder: Path) -> None:
    run = other_run(folder)
    with (
        exclusive_lock(run.folder, "teacher-cache", run.cache),
        pytest.raises(CacheError, match="another teacher-cache is already running"),
    ):
        remove_garbage(run.cache)
    remove_garbage(run.cache)


def test_a_damaged_record_keeps_everything(folder: Path) -> None:
    small_run(folder).manifest.write_text("{")
    with pytest.raises(CacheError, match=r"teacher\.json is damaged"):
        remove_garbage(folder / "cache")


@pytest.mark.parametrize(("name", "found"), [
    ("results.json", r"results\.json is damaged"), ("panoramas.jsonl", r"panoramas\.jsonl has 1 damaged line \(1\)"),
])  # fmt: skip
def test_what_a_damaged_record_of_a_run_may_name_stays(folder: Path, name: str, found: str) -> None:
    run = small_run(folder)
    run.record_student("a" * 16).mkdir(parents=True)
    path = run.folder / name
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(CacheError, match=found):
        remove_garbage(run.cache)
    assert run.cache.joinpath("students", "a" * 16).is_dir()
    path.unlink()
    teacher_cache(run, silent)
    run.record_student("a" * 16)
    assert remove_garbage(run.cache) == []


def test_a_cache_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="does not exist"):
        find_garbage(tmp_path / "cache")
