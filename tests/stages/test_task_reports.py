"""Reports of tasks: told in order, and a fatal one ends the stage before any other is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.errors import CacheError, InputError
from stages.events import Event, ItemFailed, Note, StageAdvanced
from stages.task_reports import PanoramaReport, follow, require_some_done

BROKEN = ItemFailed("test", "b", "it is broken")


def test_what_was_set_aside_is_told_before_and_progress_after_a_report_is_looked_at() -> None:
    heard: list[Event | str] = []
    for report in follow([PanoramaReport("a", 0.5), PanoramaReport("b", 0.5, failed=BROKEN)], "test", heard.append):
        heard += [report.id]
    assert heard == ["a", StageAdvanced("test", 1, "a", 0.5), BROKEN, "b", StageAdvanced("test", 2, "b", 0.5)]


def test_a_fatal_report_ends_it_and_nothing_more_is_asked_for() -> None:
    full = CacheError("the disk is full", "there must be room", "Free some")

    def reports() -> Iterator[PanoramaReport]:
        yield PanoramaReport("a", 0.5)
        yield PanoramaReport("b", 0.5, failed=BROKEN, fatal=full)
        pytest.fail("asked for more")

    heard: list[Event] = []
    with pytest.raises(CacheError, match="the disk is full"):
        list(follow(reports(), "test", heard.append))
    assert heard == [StageAdvanced("test", 1, "a", 0.5)]


def test_a_note_of_many_reports_is_told_once() -> None:
    reports = [PanoramaReport("a", notes=("grey", "tilted")), PanoramaReport("b", notes=("grey",))]
    heard: list[Event] = []
    list(follow(reports, "test", heard.append))
    assert [event for event in heard if isinstance(event, Note)] == [Note("test", "grey"), Note("test", "tilted")]


def test_that_nothing_was_done_is_an_error_with_the_first_reason() -> None:
    require_some_done(2, {"a": "it is broken."}, "exported")
    with pytest.raises(InputError, match=r"none of 1 panorama could be exported \(a: it is broken\); at least"):
        require_some_done(1, {"a": "it is broken."}, "exported")
    with pytest.raises(InputError, match="there are none"):
        require_some_done(0, {}, "measured")
