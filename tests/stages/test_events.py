"""What stages tell of work that may be long."""

from __future__ import annotations

import pytest

from stages import events
from stages.events import Event, StageAdvanced, StageFinished, StageStarted, report_if_slow


@pytest.mark.parametrize(("seconds_each", "reported"), [(0.1, []), (1.5, [2, 3, 4])])
def test_only_slow_work_is_reported(monkeypatch: pytest.MonkeyPatch, seconds_each: float, reported: list[int]) -> None:
    clock = iter(seconds_each * tick for tick in range(100))
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    received: list[Event] = []
    assert list(report_if_slow("abcde", "looking", "letters", received.append)) == list("abcde")
    assert [event.done for event in received if isinstance(event, StageAdvanced)] == reported
    if reported:
        assert received[0] == StageStarted("looking", 5, "letters")
        assert isinstance(received[-1], StageFinished)
    else:
        assert not received


def test_quick_items_are_not_reported_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(0.25 * tick for tick in range(100))
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    received: list[Event] = []
    assert list(report_if_slow(range(20), "looking", "numbers", received.append)) == list(range(20))
    assert [event.done for event in received if isinstance(event, StageAdvanced)] == [11, 14, 17]
