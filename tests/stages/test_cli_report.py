"""`goodsam report` hands its options on: for a folder of maps, or for the run of a recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stages.cli import app
from stages.runs import Run
from tests.stages.report_folder import make_maps

Asked = list[tuple[Any, Path | None, dict[str, Any]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """What reports are asked for in the folder of the test; none is written."""
    asked: Asked = []

    def report(source: Any, out: Path | None, **options: Any) -> SimpleNamespace:
        asked.append((source, out, options))
        return SimpleNamespace(failed={"a": "broken"}, page=Path("index.html"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("goodsam.report", report)
    (tmp_path / "my.toml").write_text('name = "streets"\n[data]\npanoramas = "photos"\n')
    return asked


def run_report(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


def test_a_folder_is_handed_on_as_it_is_with_the_usual_options(asked: Asked) -> None:
    done = run_report("maps")
    ((source, out, options),) = asked
    assert (source, out, options["panoramas"], options["width"], options["title"]) == ("maps", None, None, None, "")
    assert (options["single"], options["viewer"], options["student"]) == (False, True, True)
    assert (done.exit_code, done.stdout) == (0, "report: index.html\n")
    assert "1 set aside" in done.stderr


def test_options_go_to_the_report(asked: Asked) -> None:
    run_report("maps", "mine.html", "--single", "--no-viewer", "--width", "512", "--title", "Streets", "--panoramas",
               "photos", "--no-student", "--device", "cpu")  # fmt: skip
    ((_, out, options),) = asked
    assert out == Path("mine.html")
    assert (options["single"], options["viewer"], options["width"], options["title"]) == (True, False, 512, "Streets")
    assert (options["panoramas"], options["student"], options["device"]) == (Path("photos"), False, "cpu")


def test_a_recipe_is_opened_as_its_run_and_named_in_the_command_for_messages(asked: Asked) -> None:
    assert run_report("my.toml", "--set", "fusion.theta=0.5").exit_code == 0
    assert run_report("demo").exit_code == 0
    (run, _, options), (built_in, *_) = asked
    assert isinstance(run, Run) and (run.recipe.name, run.recipe.fusion.theta) == ("streets", 0.5)
    assert options["command"] == "goodsam teacher-cache my.toml --set fusion.theta=0.5"
    assert isinstance(built_in, Run) and built_in.recipe.name == "demo"


def test_a_folder_of_maps_goes_before_a_built_in_recipe_of_its_name(asked: Asked, tmp_path: Path) -> None:
    make_maps(tmp_path / "demo", ["a"])
    assert run_report("demo").exit_code == 0
    assert asked[0][0] == "demo"
