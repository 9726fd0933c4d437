"""Reports of tasks: told in order, and a fatal one ends the stage before any other is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pipeline.errors import CacheError, GoodSAMError
from stages.events import Event, ItemFailed, StageAdvanced
from stages.task_reports import follow


@dataclass(frozen=True)
class Report:
    """What became of a panorama."""

    id: str
    seconds: float = 0.5
    failed: ItemFailed | None = None
    fatal: GoodSAMError | None = None


BROKEN = ItemFailed("test", "b", "it is broken")


def test_what_was_set_aside_is_told_before_and_progress_after_a_report_is_looked_at() -> None:
    heard: list[Event | str] = []
    for report in follow([Report("a"), Report("b", failed=BROKEN)], "test", heard.append):
        heard += [report.id]
    assert heard == ["a", StageAdvanced("test", 1, "a", 0.5), BROKEN, "b", StageAdvanced("test", 2, "b", 0.5)]


def test_a_fatal_report_ends_it_and_nothing_more_is_asked_for() -> None:
    full = CacheError("the disk is full", "there must be room", "Free some")

    def reports() -> Iterator[Report]:
        yield Report("a")
        yield Report("b", failed=BROKEN, fatal=full)
        pytest.fail("asked for more")

    heard: list[Event] = []
    with pytest.raises(CacheError, match="the disk is full"):
        list(follow(reports(), "test", heard.append))
    assert heard == [StageAdvanced("test", 1, "a", 0.5)]
