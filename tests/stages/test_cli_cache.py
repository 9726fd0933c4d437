"""`goodsam runs`, `gc` and `verify`: what they print, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.errors import CacheError
from stages.cli import app
from stages.garbage import Garbage

MENDED = ", mended: damaged panoramas are removed, group files written anew"


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_cache_without_runs_says_so(tmp_path: Path) -> None:
    assert run_command("runs", "--cache", tmp_path).stdout == f"{tmp_path} has no runs\n"
    assert run_command("gc", "--cache", tmp_path).stdout == f"every result in {tmp_path} is some run's\n"
    assert isinstance(run_command("gc", "--cache", tmp_path / "none").exception, CacheError)


def test_gc_lists_with_sizes_and_removes_only_when_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    removed: list[str] = []
    found = [Garbage(Path("a"), "old", 1_500_000, lambda: removed.append("a"))]
    monkeypatch.setattr("stages.garbage.find_garbage", lambda _: found)  # type: ignore[misc]
    listed = run_command("gc", "--cache", tmp_path)
    assert listed.stdout.splitlines() == [
        "       1.5 MB  a  (old)", "1.5 MB that no run refers to; --remove removes them"
    ]  # fmt: skip
    assert removed == []
    assert run_command("gc", "--cache", tmp_path, "--remove").stdout.splitlines()[-1] == "removed 1.5 MB"
    assert removed == ["a"]


def test_verify_ends_with_an_error_unless_what_is_damaged_was_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def find(_: object, __: object, *, remove: bool) -> list[str]:
        asked.append(remove)
        return ["a is damaged"]

    monkeypatch.setattr("stages.verify.verify", find)
    listed, removed = (run_command("verify", "demo", "--cache", tmp_path, *more) for more in ([], ["--discard"]))
    assert (listed.exit_code, removed.exit_code, asked) == (1, 0, [False, True])
    assert (listed.stdout, removed.stdout) == ("1 problem\n", f"1 problem{MENDED}\n")
    assert listed.stderr == "a is damaged\n"
