"""What commands share: a word on what was set aside, the same command to type again, and where a run belongs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from stages.cli_options import command_of, count_failures, open_run_of
from stages.runs import Run

RECIPE = 'name = "my"\n[data]\npanoramas = "photos"\nevaluation = "held_out"\n'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text(RECIPE)
    return open_run_of("my.toml", None, None)


def test_what_was_set_aside_is_counted_on_the_error_stream_and_only_then(capsys: pytest.CaptureFixture[str]) -> None:
    count_failures({})
    assert capsys.readouterr() == ("", "")
    count_failures({"a": "broken", "b": "broken"})
    assert capsys.readouterr() == ("", "2 set aside, for the reasons above\n")


def test_a_command_for_the_same_run_comes_back_from_the_shell_as_it_was() -> None:
    command = command_of("distill", "my photos.toml", Path("a cache"), ["fusion.theta=0.6", "data.labels=it's here"])
    assert shlex.split(command) == [
        "goodsam", "distill", "my photos.toml", "--cache", "a cache", "--set", "fusion.theta=0.6", "--set",
        "data.labels=it's here",
    ]  # fmt: skip
    assert command_of("eval", "demo", None, None) == "goodsam eval demo"


def test_a_run_of_the_name_in_the_current_folder_is_pointed_out(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert capsys.readouterr().err == ""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "my.toml").write_text(RECIPE)
    run.folder.mkdir(parents=True)
    run.manifest.write_text("{}")
    assert open_run_of("deep/my.toml", None, None).folder.resolve() == (tmp_path / "deep/cache/my").resolve()
    assert "--cache cache continues with that" in capsys.readouterr().err
    open_run_of("deep/my.toml", Path("elsewhere"), None)
    begun = tmp_path / "deep" / "cache" / "my"
    begun.mkdir(parents=True)
    (begun / "panoramas.jsonl").touch()  # of a run that has lost its teacher.json
    open_run_of("deep/my.toml", None, None)
    assert capsys.readouterr().err == ""
