"""Progress, log and scalars hear the same events."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from stages.events import ItemFailed, Note, Scalars, StageAdvanced, StageFinished, StageStarted, fan_out
from stages.listeners import JsonLines, ProgressConsole, RunListeners

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


def test_a_pipe_gets_plain_lines_with_rate_and_time_left() -> None:
    out = io.StringIO()
    console = ProgressConsole(Console(file=out, width=200), plain_interval=0.0)
    for event in STORY:
        console(event)
    assert "1/3 steps" in out.getvalue()
    assert "s left" in out.getvalue()
    assert "street/1.jpg is empty" in out.getvalue()


def test_a_terminal_gets_a_bar_that_ends() -> None:
    out = io.StringIO()
    console = ProgressConsole(Console(file=out, width=120, force_terminal=True))
    for event in STORY:
        console(event)
    assert "3/3" in out.getvalue()


def test_text_in_brackets_is_shown_as_it_is() -> None:
    out = io.StringIO()
    ProgressConsole(Console(file=out, width=200))(ItemFailed("s", "photo[1]", "found [red]"))
    assert "photo[1]" in out.getvalue()
    assert "found [red]" in out.getvalue()


def test_a_run_folder_gets_log_and_tensorboard(tmp_path: Path) -> None:
    with RunListeners(tmp_path, Console(file=io.StringIO())) as listener:
        for event in STORY:
            listener(event)
    assert (tmp_path / "log.jsonl").exists()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_fan_out_passes_every_event_to_all() -> None:
    first: list[object] = []
    second: list[object] = []
    fan_out(first.append, second.append)(STORY[0])
    assert first == second == [STORY[0]]
