"""What a stage tells while it runs. Progress bar, log, TensorBoard and tests all listen to the same events."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pipeline.errors import GoodSAMError

Item = TypeVar("Item")
_HALF_A_SECOND = 0.5


@dataclass(frozen=True)
class StageStarted:
    """A stage knows what it has to do."""

    stage: str
    """Name of the stage ("teacher-cache")."""
    total: int
    """Number of units to do now; what earlier runs did is not counted."""
    unit: str
    """What is counted ("panoramas", "steps")."""


@dataclass(frozen=True)
class StageAdvanced:
    """Units were done."""

    stage: str
    """Name of the stage."""
    done: int
    """Units done so far in this run."""
    item: str
    """The unit done last (a panorama's id), or empty."""
    seconds: float
    """Time that it took."""


@dataclass(frozen=True)
class Scalars:
    """Measured numbers of one step (losses, rates)."""

    stage: str
    """Name of the stage."""
    step: int
    """Step that they belong to."""
    values: Mapping[str, float]
    """Name to number."""


@dataclass(frozen=True)
class ItemFailed:
    """One item was set aside; the stage goes on."""

    stage: str
    """Name of the stage."""
    item: str
    """The panorama's id or file."""
    error: str
    """One sentence for people."""
    trace: str = ""
    """Traceback of an error that was not foreseen, for the log."""


def failure(stage: str, item: str, error: Exception) -> ItemFailed:
    """What is told of an item that an error cost; the traceback if the error was not foreseen."""
    if isinstance(error, GoodSAMError):
        return ItemFailed(stage, item, str(error))
    return ItemFailed(stage, item, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def tell_if_slow(
    items: Sequence[Item], stage: str, unit: str, listener: Listener, patience: float = 2.0
) -> Iterator[Item]:
    """Hand out the items; if the work on them takes longer than `patience` seconds, tell the listener as of a stage,
    now and then: to tell of each item would take longer than the work on it."""
    started = time.monotonic()
    is_told, next_time = False, started + patience
    for done, item in enumerate(items):
        now = time.monotonic()
        if now > next_time:
            listener(StageAdvanced(stage, done, "", 0.0) if is_told else StageStarted(stage, len(items), unit))
            is_told, next_time = True, now + _HALF_A_SECOND
        yield item
    if is_told:
        listener(StageFinished(stage, time.monotonic() - started))


@dataclass(frozen=True)
class Note:
    """Something worth a line."""

    stage: str
    """Name of the stage."""
    text: str
    """The line."""


@dataclass(frozen=True)
class StageFinished:
    """A stage came to its end."""

    stage: str
    """Name of the stage."""
    seconds: float
    """Wall-clock time of this run."""
    summary: Mapping[str, object] = field(default_factory=dict[str, object])
    """What was done, for the log."""


@dataclass(frozen=True)
class StageBroken:
    """An error or the user ended a stage before its time."""

    error: str
    """What is told on the console."""
    trace: str
    """Where it happened."""


Event = StageStarted | StageAdvanced | Scalars | ItemFailed | Note | StageFinished | StageBroken
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Listen to nothing."""
