"""Messages of the command line where it cannot begin."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline import __version__
from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from stages import cli

ROOT = Path(__file__).resolve().parents[2]


def test_a_path_in_a_folder_that_may_not_be_entered_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)  # the superuser, who may run the tests, can enter any folder
    monkeypatch.setattr(sys, "argv", ["goodsam", "predict", "/private/photos", "out"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: /private/photos cannot be used (Permission denied); you need permission")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "teacher-cache"),
        (["-h"], "teacher-cache"),
        (["--help"], "teacher-cache"),
        (["verify", "-h"], "--set"),
        (["--version"], "goodsam "),
    ],
)
def test_who_asks_for_help_or_version_gets_it_and_no_error(arguments: list[str], printed: str) -> None:
    result = CliRunner().invoke(cli.app, arguments, env={"NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0
    assert printed in result.output


def test_help_is_quick_and_cuts_no_summary_short() -> None:
    """Without rich, torch and the stages, whose imports take longer than all else of it."""
    code = (
        "import sys\n"
        "sys.argv = ['goodsam', '--help']\n"
        "from stages.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print({'rich', 'torch', 'zarr', 'numpy', 'PIL'} & sys.modules.keys(), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert re.search("teacher-cache +Stage one", done.stdout) and "..." not in done.stdout.partition("Commands:")[2]


def test_verify_names_an_emptied_group_once_and_mends_it(tmp_path: Path) -> None:
    store = TeacherStore.open(tmp_path / "teacher.zarr", "a")
    store.write(MASKS, "0123456789abcdef", "street", {"x": np.ones((4, 8), np.uint8)}, {})
    emptied = store.path / "masks" / "0123456789abcdef" / "zarr.json"
    emptied.write_text("")
    verify = ["verify", "demo", "--cache", str(tmp_path)]
    found = CliRunner().invoke(cli.app, verify)
    assert found.exit_code == 1 and str(emptied) in found.output and "1 problem\n" in found.output
    assert CliRunner().invoke(cli.app, [*verify, "--discard"]).exit_code == 0
    assert "0 problems" in CliRunner().invoke(cli.app, verify).output
    assert store.ids(MASKS, "0123456789abcdef") == ["street"]


def test_verify_mends_the_lost_description_of_the_store(tmp_path: Path) -> None:
    store = TeacherStore.open(tmp_path / "teacher.zarr", "a")
    store.write(MASKS, "0123456789abcdef", "street", {"x": np.ones((4, 8), np.uint8)}, {})
    lost = store.path / "zarr.json"
    for damage in (lost.unlink, lambda: lost.write_text("")):
        damage()
        verify = ["verify", "demo", "--cache", str(tmp_path)]
        found = CliRunner().invoke(cli.app, verify)
        assert found.exit_code == 1 and f"{lost} is missing or damaged" in found.output
        assert CliRunner().invoke(cli.app, [*verify, "--discard"]).exit_code == 0
        assert "0 problems" in CliRunner().invoke(cli.app, verify).output
        assert TeacherStore.open(store.path, "r").ids(MASKS, "0123456789abcdef") == ["street"]


def test_the_version_is_reported_without_installation_and_is_what_packaging_reads(tmp_path: Path) -> None:
    """From a copy of the sources, in an interpreter that knows of no installed goodsam."""
    for package in ("goodsam", "pipeline", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("demo", "__pycache__"))
    (tmp_path / "hidden.py").write_text(
        "import sys, importlib.metadata as m\n"
        "def none(name): raise m.PackageNotFoundError(name)\n"
        "m.version = m.distribution = none\n"
        "sys.argv = ['goodsam', '--version']\n"
        "from stages.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "hidden.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"goodsam {__version__}\n", "")
    packaging = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in packaging["project"] and packaging["project"]["dynamic"] == ["version"]
    assert packaging["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "pipeline.__version__"}
