"""What the commands before and beside a run print as JSON, as objects; and the errors of what cannot be done."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import goodsam
from pipeline.errors import InputError
from stages.cli import app
from stages.events import silent
from tests.stages.small_run import HEIGHT, WIDTH, make_folders


def printed(*arguments: str) -> Any:
    return json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)


def test_status_and_plan_are_what_their_commands_print_as_json(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    run = goodsam.open_run(recipe)
    status, plan = goodsam.status(run), goodsam.plan(run, silent, sample=0, workers=2)
    assert status.panoramas == {"done": 0, "stale": 0, "missing": 4, "set aside": 0}
    assert (plan.panoramas, plan.to_compute["masks"], plan.hours, plan.workers) == (4, 4, None, 2)
    assert printed("status", str(recipe)) == asdict(status)
    free = {"free_gigabytes": 0}  # of the disk, which others write to
    assert printed("plan", str(recipe), "--sample", "0", "--workers", "2") | free == asdict(plan) | free
    assert not run.folder.exists(), "nothing was computed"


def test_doctor_finds_the_same_and_of_a_run_more_than_of_the_machine(tmp_path: Path) -> None:
    recipe = make_folders(tmp_path)
    found, machine = goodsam.doctor(goodsam.open_run(recipe)), goodsam.doctor()
    subjects = [finding.subject for finding in found]
    assert [own["subject"] for own in printed("doctor", str(recipe))] == subjects
    assert {finding.subject for finding in machine} < set(subjects)
    assert {finding.state for finding in found} <= {"ok", "note", "problem"}


def test_init_gives_a_recipe_to_open_and_what_it_was_written_for(tmp_path: Path) -> None:
    make_folders(tmp_path)
    out = tmp_path / "my street.toml"
    found = goodsam.init(tmp_path / "photos", out)
    assert (found.panoramas, found.sizes, found.data_set) == (3, {f"{WIDTH}x{HEIGHT}": 3}, "")
    assert goodsam.open_run(found.recipe).recipe.name == "my-street"
    again = printed("init", str(tmp_path / "photos"), "--out", str(tmp_path / "other.toml"))
    assert again == asdict(found) | {"recipe": str(tmp_path / "other.toml")}
    with pytest.raises(InputError, match="already exists"):
        goodsam.init(tmp_path / "photos", out)
    assert goodsam.init(tmp_path / "photos", tmp_path / "n.toml", name="mine").panoramas == 3
    assert goodsam.open_run(tmp_path / "n.toml").recipe.name == "mine"
