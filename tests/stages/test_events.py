"""What stages tell of work that may be long."""

from __future__ import annotations

import pytest

from stages import events
from stages.events import Event, StageAdvanced, StageFinished, StageStarted, report_if_slow


@pytest.mark.parametrize(("seconds_each", "told"), [(0.1, []), (1.5, [2, 3, 4])])
def test_only_slow_work_is_reported(monkeypatch: pytest.MonkeyPatch, seconds_each: float, told: list[int]) -> None:
    clock = iter(seconds_each * tick for tick in range(100))
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    heard: list[Event] = []
    assert list(report_if_slow("abcde", "looking", "letters", heard.append)) == list("abcde")
    assert [event.done for event in heard if isinstance(event, StageAdvanced)] == told
    if told:
        assert heard[0] == StageStarted("looking", 5, "letters")
        assert isinstance(heard[-1], StageFinished)
    else:
        assert not heard


def test_quick_items_are_not_reported_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(0.25 * tick for tick in range(100))
    monkeypatch.setattr(events.time, "monotonic", lambda: next(clock))
    heard: list[Event] = []
    assert list(report_if_slow(range(20), "looking", "numbers", heard.append)) == list(range(20))
    assert [event.done for event in heard if isinstance(event, StageAdvanced)] == [11, 14, 17]
