"""Events of a running stage. Progress bar, log, TensorBoard and tests all listen to the same ones."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.errors import GoodSAMError

Item = TypeVar("Item")
_PATIENCE, _REPORT_INTERVAL = 2.0, 0.5
"""Seconds before the first report, and between reports, of work that is usually quick."""


@dataclass(frozen=True)
class StageStarted:
    """A stage begins its work."""

    stage: str
    """Name of the stage ("teacher-cache")."""
    total: int
    """Number of units to do now, without those done by earlier runs."""
    unit: str
    """What is counted ("panoramas", "steps")."""


@dataclass(frozen=True)
class StageAdvanced:
    """A unit was done."""

    stage: str
    """Name of the stage."""
    done: int
    """Units done so far in this run."""
    item: str
    """The unit done last (a panorama's id), or empty."""
    seconds: float
    """Seconds that it took."""


@dataclass(frozen=True)
class Scalars:
    """Measured numbers of one step (losses, rates)."""

    stage: str
    """Name of the stage."""
    step: int
    """Number of the step."""
    values: Mapping[str, float]
    """Values by name."""


@dataclass(frozen=True)
class ItemFailed:
    """One item was set aside; the stage continues."""

    stage: str
    """Name of the stage."""
    item: str
    """The panorama's id or file."""
    error: str
    """One sentence for people."""
    trace: str = ""
    """Traceback of an unexpected error, for the log."""


def failure(stage: str, item: str, error: Exception) -> ItemFailed:
    """The event for an item that is set aside because of an error, with a traceback if it was unexpected."""
    if isinstance(error, GoodSAMError):
        return ItemFailed(stage, item, str(error))
    return ItemFailed(stage, item, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def report_if_slow(items: Sequence[Item], stage: str, unit: str, listener: Listener) -> Iterator[Item]:
    """Yield the items; if working on them takes more than two seconds, report progress as for a stage, twice a second:
    reporting each item would take longer than the work on it."""
    started = time.monotonic()
    is_reported, next_time = False, started + _PATIENCE
    for done, item in enumerate(items):
        now = time.monotonic()
        if now > next_time:
            listener(StageAdvanced(stage, done, "", 0.0) if is_reported else StageStarted(stage, len(items), unit))
            is_reported, next_time = True, now + _REPORT_INTERVAL
        yield item
    if is_reported:
        listener(StageFinished(stage, time.monotonic() - started))


@dataclass(frozen=True)
class Note:
    """A remark for the user."""

    stage: str
    """Name of the stage."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class StageFinished:
    """A stage is complete."""

    stage: str
    """Name of the stage."""
    seconds: float
    """Wall-clock time of this run."""
    summary: Mapping[str, object] = field(default_factory=dict[str, object])
    """Figures of what was done, by name."""


@dataclass(frozen=True)
class StageBroken:
    """An error or the user stopped a stage."""

    error: str
    """The message that the console shows."""
    trace: str
    """The traceback."""


Event = StageStarted | StageAdvanced | Scalars | ItemFailed | Note | StageFinished | StageBroken
Listener = Callable[[Event], None]


def to_all(*listeners: Listener) -> Listener:
    """A listener that passes every event on to others, in their order."""

    def hear(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return hear


def silent(event: Event) -> None:
    """A listener that ignores all events."""
