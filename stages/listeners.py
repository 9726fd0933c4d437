"""Listeners: a progress bar with rate and time left, a JSON-lines log, TensorBoard scalars."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import format_exception
from types import TracebackType
from typing import Any, BinaryIO, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.errors import CacheError
from stages.events import Event, ItemFailed, Note, Scalars, StageAdvanced, StageBroken, StageFinished, StageStarted
from stages.files import writing
from stages.json_lines import is_cut_short


class _RateColumn(ProgressColumn):
    """Units per second, or seconds per unit if that is more than one second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(_rate(speed))


def _rounded(value: float) -> str:
    """Four significant digits; whole numbers from 1000."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rate(speed: float) -> str:
    return f"{speed:.1f}/s" if speed >= 1 or not speed else f"{1 / speed:.1f} s each"


class ProgressConsole:
    """Progress bars and notes on a terminal; plain lines where the output is no terminal.

    If its terminal is gone, or the disk of its output is full, the run continues without output.
    """

    def __init__(self, console: Console | None = None, line_interval: float = 10.0) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._line_interval = line_interval
        self._progress: Progress | None = None
        self._task_total = 0
        self._started = self._last_line = 0.0
        self._unit = ""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        with suppress(OSError):
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._start(event)
            case StageAdvanced():
                self._advance(event)
            case Scalars():
                self._describe(event)
            case ItemFailed():
                self._line(f"[yellow]set aside[/] {escape(event.item)}: {escape(event.error)}")
            case Note():
                self._line(f"{event.stage}: {escape(event.text)}")
            case StageFinished():
                self._finish(event)
            case StageBroken():
                pass  # the command line prints the error

    def _start(self, event: StageStarted) -> None:
        self._task_total, self._unit = event.total, event.unit
        if event.total and self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn(),
                       TimeRemainingColumn(), TextColumn("{task.fields[note]}"))  # fmt: skip
            self._progress = Progress(*columns, console=self.console)
            self._progress.add_task(event.stage, total=event.total, note="")
            self._progress.start()
        self._started = self._last_line = time.monotonic()

    def _advance(self, event: StageAdvanced) -> None:
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=event.done)
        elif time.monotonic() - self._last_line >= self._line_interval:
            self._last_line = time.monotonic()
            rate = event.done / max(self._last_line - self._started, 1e-9)
            left = (self._task_total - event.done) / rate if rate else 0
            self._line(
                f"{event.stage}: {event.done}/{self._task_total} {self._unit}, {_rate(rate)}, about {left:.0f} s left"
            )

    def _describe(self, event: Scalars) -> None:
        if self._progress is not None:
            text = " ".join(f"{name} {value:.3f}" for name, value in list(event.values.items())[:4])
            self._progress.update(self._progress.task_ids[0], note=text)

    def _finish(self, event: StageFinished) -> None:
        self.close()
        facts = ", ".join(
            f"{key} {_rounded(value)}" if isinstance(value, float) else f"{key} {value}"
            for key, value in event.summary.items()
        )
        self._line(f"[green]{event.stage}[/] done in {event.seconds:.1f} s{': ' if facts else ''}{escape(facts)}")

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def close(self) -> None:
        """Restore the terminal."""
        progress, self._progress = self._progress, None
        if progress is not None:
            with suppress(OSError):
                progress.stop()


class JsonLines:
    """Appends one JSON object per event: {"time": seconds since 1970, "event": name, ...its fields}."""

    def __init__(self, path: Path) -> None:
        """Raises CacheError where the file cannot be written."""
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
            if is_cut_short(path):  # by a killed run or a full disk; the next event gets a line of its own
                self._file.write("\n")

    def __call__(self, event: Event) -> None:
        """Write one event.

        Raises:
            CacheError: the disk is full.
        """
        record = {"time": round(time.time(), 3), "event": type(event).__name__, **dataclasses.asdict(event)}
        with writing(self._path):
            self._file.write(json.dumps(record, default=str) + "\n")

    def close(self) -> None:
        """Close the file; raises CacheError if buffered output cannot be written."""
        with writing(self._path):
            self._file.close()


class TensorBoard:
    """Writes scalars for TensorBoard; the folder is made, and TensorBoard imported, with the first one.

    Each is written at once and by this thread: a killed run keeps its curves, and the stage gets the error of a full
    disk (the usual `SummaryWriter` writes in a thread of its own, which dies with a traceback).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None

    def __call__(self, event: Event) -> None:
        """Write the scalars of one event.

        Raises:
            CacheError: the disk is full, or the folder cannot be written.
        """
        if not isinstance(event, Scalars):
            return
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

        values = [Summary.Value(tag=f"{event.stage}/{name}", simple_value=v) for name, v in event.values.items()]
        with writing(self._folder):
            if self._file is None:
                self._file = self._create()
                _write_record(self._file, file_version="brain.Event:2")
            _write_record(self._file, step=event.step, summary=Summary(value=values))

    def close(self) -> None:
        """Close the file; raises CacheError if buffered output cannot be written."""
        if self._file is not None:
            with writing(self._folder):
                self._file.close()

    def _create(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        return (self._folder / name).open("xb")


def _write_record(file: BinaryIO, **content: Any) -> None:
    """Write one record of TensorBoard's own format."""
    from tensorboard.compat.proto.event_pb2 import Event as Record  # type: ignore[attr-defined]
    from tensorboard.summary.writer.record_writer import RecordWriter

    RecordWriter(file).write(Record(wall_time=time.time(), **content).SerializeToString())
    file.flush()


class RunListeners:
    """The listeners of a run folder as one context: progress bar and `log.jsonl`."""

    def __init__(self, run_folder: Path, console: Console | None = None) -> None:
        self._listeners = (
            ProgressConsole(console),
            JsonLines(run_folder / "log.jsonl"),
        )

    def __call__(self, event: Event) -> None:
        """Pass an event to all of them."""
        for listener in self._listeners:
            listener(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for listener in self._listeners:
                listener.close()
            return
        broken = StageBroken(str(error) or type(error).__name__, "".join(format_exception(error)))
        for listener in self._listeners:
            for act in (partial(listener, broken), listener.close):
                with suppress(CacheError):  # only the error that stopped the stage is shown
                    act()
