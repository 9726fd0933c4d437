"""The runs of a cache side by side: in which settings they differ, their students, and what was measured of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import GoodSAMError
from pipeline.recipe import load_recipe
from pipeline.settings import by_dotted_name
from stages.panorama_records import PanoramaRecords
from stages.results import Results, read_results
from stages.runs import EVALUATIONS, RECORD, STUDENTS, run_folders
from stages.students import StudentFolder

Settings = dict[str, Any]
"""Value by the setting's full name ("fusion.theta")."""


@dataclass(frozen=True)
class StudentOverview:
    """A student of a run."""

    name: str
    """Its folder in `students/`."""
    is_latest: bool
    """Whether it is the run's latest."""
    steps: int
    """Steps of its training; 0 while it is unfinished."""
    differences: Settings
    """Settings in which the cache's students are not all alike."""
    miou: float | None
    """mIoU by its latest evaluation, 0..1; None where there is none or no labels."""


@dataclass(frozen=True)
class RunOverview:
    """A run of a cache."""

    name: str
    """Its folder."""
    panoramas: int
    """Panoramas of the run that stage one has recorded."""
    differences: Settings
    """Settings in which the cache's runs are not all alike."""
    ensemble_miou: float | None
    """mIoU of the ensemble by the latest evaluation, 0..1."""
    students: tuple[StudentOverview, ...]
    """Its students, the latest last."""


def overview(cache: Path) -> list[RunOverview]:
    """All runs of a cache, by name. A run whose recipe cannot be read has no settings to compare."""
    folders = run_folders(cache)
    settings = {folder.name: _recipe_settings(folder) for folder in folders}
    results = {folder.name: read_results(folder) for folder in folders}
    names = sorted({name for result in results.values() for name in result.students})
    students = {name: StudentFolder(cache / STUDENTS / name) for name in names}
    student_settings = {name: _student_settings(student) for name, student in students.items()}
    of_runs, of_students = _differing(settings), _differing(student_settings)
    found: list[RunOverview] = []
    for folder in folders:
        result = results[folder.name]
        measured = _measured(cache, result)
        overviews = tuple(
            StudentOverview(name, name == result.student, int(students[name].record().get("steps", 0)),
                            _chosen(student_settings[name], of_students), measured.get(name))
            for name in result.students
        )  # fmt: skip
        found.append(RunOverview(folder.name, len(PanoramaRecords(folder / "panoramas.jsonl")),
                                 _chosen(settings[folder.name], of_runs), measured.get(""), overviews))  # fmt: skip
    return found


def text_of(runs: list[RunOverview]) -> str:
    """The overview for a terminal."""
    lines: list[str] = []
    for run in runs:
        lines.append(f"{run.name}: {run.panoramas} panoramas{_measured_text('ensemble', run.ensemble_miou)}")
        lines += [f"  {name} = {json.dumps(value)}" for name, value in sorted(run.differences.items())]
        for student in run.students:
            state = f"{student.steps} steps" if student.steps else "unfinished"
            lines.append(f"  student {student.name}{' (latest)' if student.is_latest else ''}: {state}"
                         f"{_measured_text('', student.miou)}{_settings_text(student.differences)}")  # fmt: skip
    return "\n".join(lines)


def _measured_text(what: str, miou: float | None) -> str:
    return "" if miou is None else f", {what}{' ' if what else ''}mIoU {100 * miou:.1f} %"


def _settings_text(settings: Settings) -> str:
    return "".join(f", {name} = {json.dumps(value)}" for name, value in sorted(settings.items()))


def _recipe_settings(folder: Path) -> Settings:
    try:
        recipe = load_recipe(folder / RECORD)
    except GoodSAMError:
        return {}
    return by_dotted_name({key: value for key, value in dataclasses.asdict(recipe).items() if key != "name"})


def _student_settings(student: StudentFolder) -> Settings:
    record = student.record()
    known = {key: record[key] for key in ("seed", "data") if key in record}
    return by_dotted_name({**record.get("settings", {}), **known})


def _differing(of_all: Mapping[str, Settings]) -> set[str]:
    """Names of the settings that not all have alike; who has none is not asked."""
    known = [settings for settings in of_all.values() if settings]
    names = {name for settings in known for name in settings}
    return {name for name in names if any(settings.get(name) != known[0].get(name) for settings in known)}


def _chosen(settings: Settings, names: set[str]) -> Settings:
    return {name: value for name, value in settings.items() if name in names}


def _measured(cache: Path, results: Results) -> dict[str, float]:
    """mIoU of the run's students by their latest evaluations, and under "" that of the ensemble."""
    found: dict[str, float] = {}
    for name in results.evaluations:
        try:
            metrics = json.loads((cache / EVALUATIONS / name / "metrics.json").read_text(encoding="utf-8"))
            rungs = {rung["name"]: rung["miou"] for rung in metrics["ladder"]}
            student = metrics.get("student_name")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if student and rungs.get("student") is not None:
            found[student] = rungs["student"]
        if rungs.get("ensemble") is not None:
            found[""] = rungs["ensemble"]
    return found
