"""`goodsam status`, `plan`, `doctor` and `init`: what they print, as text and as JSON, and how they end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from pipeline.recipe import load_recipe
from stages.cli import app
from stages.events import Listener
from stages.plan import Plan, make_plan
from stages.runs import Run


def test_every_command_prints_json(own_finished: Path, tmp_path: Path) -> None:
    recipe = str(own_finished / "small.toml")
    for arguments in (["status", recipe], ["plan", recipe, "--sample", "0"], ["doctor", recipe]):
        done = CliRunner().invoke(app, [*arguments, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)
    done = CliRunner().invoke(
        app, ["init", str(own_finished / "photos"), "--out", str(tmp_path / "new.toml"), "--json"]
    )
    assert json.loads(done.stdout)["panoramas"] == 3


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one panorama below the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (128, 64)).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def run_command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], catch_exceptions=False)


def test_init_names_the_run_after_the_recipes_file_and_says_what_comes_next(photos: Path) -> None:
    done = run_command("init", "photos", "--out", "a street.toml")
    assert done.stdout == (
        "a street.toml is for 1 panorama; next: goodsam doctor 'a street.toml', goodsam plan 'a street.toml'\n"
    )
    assert load_recipe(Path("a street.toml")).name == "a-street", "a name that folders can have everywhere"
    run_command("init", "photos", "--out", "other.toml", "--name", "mine")
    assert load_recipe(Path("other.toml")).name == "mine"


def test_a_problem_that_doctor_finds_is_an_exit_code(photos: Path) -> None:
    Path("my.toml").write_text('name = "my"\n[data]\npanoramas = "photos"\n[assistant]\nkind = "demo"\n'
                               '[sam]\nmodel = "vit_b"\ncheckpoint = "none.pth"\n')  # fmt: skip
    found = run_command("doctor", "my.toml")
    assert found.exit_code == 1 and found.stdout.rstrip().endswith("1 problem")
    Path("my.toml").write_text('name = "my"\n[data]\npanoramas = "photos"\n[assistant]\nkind = "demo"\n')
    assert run_command("doctor", "my.toml").exit_code == 0


def test_a_plan_with_a_problem_is_an_exit_code_and_is_printed_all_the_same(
    own_finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[tuple[int, int]] = []

    def with_problem(run: Run, listener: Listener, *, sample: int, workers: int, device: str) -> Plan:
        planned.append((sample, workers))
        return replace(make_plan(run, listener, sample=0), problems=["no weights"])

    monkeypatch.setattr("stages.plan.make_plan", with_problem)
    found = run_command("plan", str(own_finished / "small.toml"), "--sample", "3", "--workers", "2")
    assert (found.exit_code, planned) == (1, [(3, 2)])
    assert "no weights" in found.stdout
