"""What tasks on panoramas report, in this process or from workers, told to the listener as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import GoodSAMError, InputError, counted
from stages.events import ItemFailed, Listener, Note, StageAdvanced


@dataclass(frozen=True)
class PanoramaReport:
    """What became of one panorama."""

    id: str
    """The panorama."""
    seconds: float = 0.0
    """Wall-clock time."""
    failed: ItemFailed | None = None
    """Why it was set aside; None where it was done."""
    fatal: GoodSAMError | None = None
    """What is wrong is not the panorama but the run (network, device, disk): going on would be in vain."""
    notes: tuple[str, ...] = ()
    """What the user should know once, however many reports say it."""
    placed: bool = False
    """The picture is a part of the sphere, by its tags."""
    tilt: float = 0.0
    """By how many degrees the camera was tilted, by the tags, so that the panorama was levelled."""


Report = TypeVar("Report", bound=PanoramaReport)


def follow(reports: Iterable[Report], stage: str, listener: Listener) -> Iterator[Report]:
    """Each report as it comes; why it was set aside and its notes are told before, progress after it was looked at.

    Args:
        reports: of the tasks, in the order in which they end.
        stage: whose they are.
        listener: hears of them.

    Raises:
        GoodSAMError: a report is fatal.
    """
    noted: set[str] = set()
    for done, report in enumerate(reports, start=1):
        if report.fatal is not None:
            raise report.fatal
        if report.failed is not None:
            listener(report.failed)
        for note in report.notes:
            if note not in noted:
                listener(Note(stage, note))
        noted.update(report.notes)
        yield report
        listener(StageAdvanced(stage, done, report.id, report.seconds))


def require_some_done(count: int, failed: Mapping[str, str], done: str) -> None:
    """Refuse to call it a success where every panorama was set aside.

    Args:
        count: number of panoramas.
        failed: why, by name, for those that were set aside.
        done: what would have been done with them, as in "exported".

    Raises:
        InputError: none was done.
    """
    if len(failed) < count:
        return
    name, reason = next(iter(failed.items()), ("", "there are none"))
    first = f"{name}: {reason}" if name else reason
    raise InputError(f"none of {counted(count, 'panorama')} could be {done} ({first.rstrip('.')})",
                     "at least one must be usable",
                     "Repair or replace the files")  # fmt: skip
