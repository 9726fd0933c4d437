"""The profile of stage one: every second counts once, for the innermost part."""

from __future__ import annotations

import importlib
import time
from collections.abc import Generator
from functools import reduce

import pytest

from scripts.profile_teacher_cache import PARTS, WHOLE, WINDOWS, Clock, Profile, clocked


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """CPU seconds so far, in the only entry; they pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    return now


def test_a_parts_seconds_are_without_those_of_the_parts_inside(seconds: list[float]) -> None:
    clock = Clock()

    def inner() -> None:
        seconds[0] += 5

    def outer() -> None:
        seconds[0] += 1
        clock.wrap("inner", inner)()
        seconds[0] += 2

    clock.wrap("outer", outer)()
    assert dict(clock.seconds) == {"outer": 3, "inner": 5}


def test_generators_are_on_the_clock_while_they_work(seconds: list[float]) -> None:
    clock = Clock()

    def items() -> Generator[int]:
        for item in range(2):
            seconds[0] += 10
            yield item

    for _ in clock.wrap("items", items)():
        seconds[0] += 100
    assert dict(clock.seconds) == {"items": 20}


def test_what_the_windows_ask_of_the_assistant_is_theirs(seconds: list[float]) -> None:
    clock = Clock()
    with clock.on(WINDOWS), clock.on(WHOLE):
        seconds[0] += 4
    with clock.on(WHOLE):
        seconds[0] += 3
    assert dict(clock.seconds) == {WINDOWS: 4, WHOLE: 3}


def test_every_place_exists_and_is_as_before_afterwards() -> None:
    def at(module: str, path: str) -> object:
        return reduce(getattr, path.split("."), importlib.import_module(module))

    before = [at(place.module, place.path) for place in PARTS]
    with clocked(Clock()):
        assert not any(at(place.module, place.path) is original for place, original in zip(PARTS, before, strict=True))
    assert [at(place.module, place.path) for place in PARTS] == before


def test_the_table_has_both_and_the_shares_of_ours() -> None:
    table = Profile({"masks": 9.0, "rest": 1.0}, {"masks": 1.0, "rest": 3.0}).table()
    assert "| masks | 9.000 | 1.000 | 25.0% |" in table
    assert "| total | 10.000 | 4.000 | 100.0% |" in table
