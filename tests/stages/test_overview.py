"""Runs and students side by side: what differs is told, and what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.recipe import Recipe, merge_recipe
from stages.overview import overview, text_of
from stages.runs import Run


def student(run: Run, name: str, seed: int, steps: int = 40) -> None:
    final = run.record_student(name) / "final"
    final.mkdir(parents=True)
    record = {"fingerprint": name, "steps": steps, "seed": seed, "settings": {"losses": {"boundary": 1.0}}}
    (final / "training.json").write_text(json.dumps(record))


def measured(run: Run, name: str, student_name: str | None, **rungs: float) -> None:
    folder = run.record_evaluation(name)
    folder.mkdir(parents=True)
    ladder = [{"name": rung, "miou": miou} for rung, miou in rungs.items()]
    (folder / "metrics.json").write_text(json.dumps({"student_name": student_name, "ladder": ladder}))


def run_of(cache: Path, name: str, **tables: dict[str, object]) -> Run:
    run = Run(merge_recipe(Recipe(name=name), tables), cache / name)
    run.record_recipe()
    return run


def test_runs_are_distinguished_by_their_settings_and_students_by_theirs(tmp_path: Path) -> None:
    one, two = run_of(tmp_path, "one"), run_of(tmp_path, "two", fusion={"theta": 0.6})
    for seed in (0, 1):
        student(one, f"s{seed}", seed)
        measured(one, f"e{seed}", f"s{seed}", ensemble=0.6, student=0.5 + seed / 10)
    two.record_student("begun")
    first, second = overview(tmp_path)
    assert (first.name, first.differences, first.ensemble_miou) == ("one", {"fusion.theta": 0.7}, 0.6)
    assert second.differences == {"fusion.theta": 0.6}
    assert [(s.name, s.is_latest, s.differences, s.miou) for s in first.students] == [
        ("s0", False, {"seed": 0}, 0.5), ("s1", True, {"seed": 1}, 0.6)]  # fmt: skip
    assert text_of([first, second]).splitlines() == [
        "one: 0 panoramas, ensemble mIoU 60.0 %",
        "  fusion.theta = 0.7",
        "  student s0: 40 steps, mIoU 50.0 %, seed = 0",
        "  student s1 (latest): 40 steps, mIoU 60.0 %, seed = 1",
        "two: 0 panoramas",
        "  fusion.theta = 0.6",
        "  student begun (latest): unfinished",
    ]


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, "one")
    student(run, "s0", 0)
    measured(run, "e0", "s0", student=0.5)
    (run.evaluation / "metrics.json").write_text("{")
    (run.folder / "recipe.toml").write_text("= no TOML")
    (found,) = overview(tmp_path)
    assert (found.differences, found.ensemble_miou, found.students[0].miou) == ({}, None, None)


def test_a_cache_without_runs_has_none(tmp_path: Path) -> None:
    assert overview(tmp_path) == overview(tmp_path / "none") == []
