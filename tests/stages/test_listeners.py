"""Progress, log and scalars hear the same events."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.errors import CacheError, InputError
from stages.events import ItemFailed, Note, Scalars, StageAdvanced, StageFinished, StageStarted
from stages.listeners import JsonLines, ProgressConsole, RunListeners, TensorBoard

STORY = (
    StageStarted("distill", 3, "steps"),
    StageAdvanced("distill", 1, "", 0.1),
    Scalars("distill", 1, {"loss": 2.5}),
    ItemFailed("distill", "street/1", "street/1.jpg is empty"),
    Note("distill", "resuming"),
    StageAdvanced("distill", 3, "", 0.1),
    StageFinished("distill", 1.5, {"steps": 3}),
)


def test_the_log_has_one_json_object_per_event(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "log.jsonl")
    for event in STORY:
        log(event)
    log.close()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["event"] for r in records] == [type(e).__name__ for e in STORY]
    assert records[2]["values"] == {"loss": 2.5}


def test_what_was_written_last_before_a_kill_does_not_run_into_the_next_event(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "No')
    for _ in range(2):
        log = JsonLines(path)
        log(STORY[0])
        log.close()
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"event": "No'
    assert [json.loads(line)["event"] for line in whole] == ["StageStarted"] * 2


def test_a_pipe_gets_plain_lines_with_rate_and_time_left() -> None:
    out = io.StringIO()
    console = ProgressConsole(Console(file=out, width=200), line_interval=0.0)
    for event in STORY:
        console(event)
    assert "1/3 steps" in out.getvalue()
    assert "s left" in out.getvalue()
    assert "street/1.jpg is empty" in out.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(12.0, "12.0 s each"), (0.25, "4.0/s")])
def test_a_slow_rate_is_reported_in_seconds_each(monkeypatch: pytest.MonkeyPatch, seconds: float, shown: str) -> None:
    out = io.StringIO()
    console = ProgressConsole(Console(file=out, width=200), line_interval=0.0)
    clock = iter((100.0, *[100.0 + seconds] * 3))
    monkeypatch.setattr("stages.listeners.time.monotonic", lambda: next(clock))
    console(StageStarted("distill", 3, "steps"))
    console(StageAdvanced("distill", 1, "", seconds))
    assert shown in out.getvalue()


def test_what_a_stage_made_is_reported_in_rounded_numbers() -> None:
    out = io.StringIO()
    ProgressConsole(Console(file=out, width=200))(StageFinished("distill", 1.5, {"loss": 0.16188766956329345}))
    assert "loss 0.1619\n" in out.getvalue()


def test_a_terminal_gets_a_bar_that_ends() -> None:
    out = io.StringIO()
    console = ProgressConsole(Console(file=out, width=120, force_terminal=True))
    for event in STORY:
        console(event)
    assert "3/3" in out.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_terminal_that_is_gone_does_not_end_the_run(is_terminal: bool) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    console = ProgressConsole(Console(file=Gone(), force_terminal=is_terminal), line_interval=0.0)
    for event in STORY:
        console(event)
    console.close()


def test_text_in_brackets_is_shown_as_it_is() -> None:
    out = io.StringIO()
    ProgressConsole(Console(file=out, width=200))(ItemFailed("s", "photo[1]", "found [red]"))
    assert "photo[1]" in out.getvalue()
    assert "found [red]" in out.getvalue()


def test_a_run_folder_gets_a_log(tmp_path: Path) -> None:
    with RunListeners(tmp_path, Console(file=io.StringIO())) as listener:
        for event in STORY:
            listener(event)
    assert (tmp_path / "log.jsonl").exists()


def test_tensorboard_reads_the_scalars_of_a_run_that_was_killed(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    for step in (1, 2):
        board(Scalars("distill", step, {"loss": 2.5 * step, "rate": 0.5}))
    found = EventAccumulator(str(tmp_path)).Reload()  # nothing was closed or flushed by us
    assert [(s.step, s.value) for s in found.Scalars("distill/loss")] == [(1, 2.5), (2, 5.0)]
    assert [(s.step, s.value) for s in found.Scalars("distill/rate")] == [(1, 0.5), (2, 0.5)]


def test_a_folder_that_cannot_be_made_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for make in (RunListeners, lambda folder: TensorBoard(folder)(Scalars("distill", 1, {"loss": 1.0}))):
        with pytest.raises(CacheError, match=r"file.* cannot be written"):
            make(tmp_path / "file" / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a file on a full disk, here")
def test_a_full_disk_is_reported_by_the_log_and_does_not_hide_what_stopped_the_stage(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(CacheError, match="No space left"), RunListeners(tmp_path, Console(file=io.StringIO())) as tell:
        tell(STORY[0])
    with pytest.raises(InputError, match="first"), RunListeners(tmp_path, Console(file=io.StringIO())) as tell:
        try:
            tell(STORY[0])
        except CacheError:
            raise InputError("first", "", "") from None


def test_what_ends_a_stage_before_its_time_is_in_the_log_and_not_twice_on_the_console(tmp_path: Path) -> None:
    output = io.StringIO()
    with pytest.raises(InputError), RunListeners(tmp_path, Console(file=output)):
        raise InputError("street is empty", "panoramas", "Put some there")
    (record,) = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert (record["event"], record["error"].startswith("street is empty")) == ("StageBroken", True)
    assert "test_listeners.py" in record["trace"]
    assert output.getvalue() == ""
