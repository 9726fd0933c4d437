"""Figures: programs timed in turn, by the median, and what the ratio says."""

from __future__ import annotations

import time

import pytest

from scripts.bench.figure import Figure, now, skipped, time_interleaved


def test_programs_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    times = iter([1.0, 9.0, 2.0])  # seconds that "a" takes
    clock = 0.0

    def work(name: str) -> None:
        nonlocal clock
        warm = len(order) >= 2
        order.append(name)
        clock += next(times) if name == "a" and warm else 5.0

    monkeypatch.setattr("scripts.bench.figure.now", lambda device: clock)
    timings = time_interleaved({"a": lambda: work("a"), "b": lambda: work("b")}, 3)
    assert "".join(order) == "ab" * 4  # one round to warm up
    assert (timings["a"].seconds, timings["b"].seconds) == (2.0, 5.0)


def test_the_first_round_counts_where_nothing_is_warmed_up_and_the_last_result_comes_back() -> None:
    calls: list[int] = []
    timings = time_interleaved({"a": lambda: (calls.append(len(calls)), calls[-1])[1]}, 3, warm_up=False)
    assert calls == [0, 1, 2] and timings["a"].result == 2 and timings["a"].seconds >= 0


@pytest.mark.parametrize(
    ("peer", "ours", "ratio"), [(3.0, 0.5, 6.0), (None, 0.5, None), (3.0, None, None), (1.0, 2.0, 0.5)]
)
def test_the_ratio_says_how_many_times_faster_ours_is(
    peer: float | None, ours: float | None, ratio: float | None
) -> None:
    assert Figure("name", "peer", peer, ours).ratio == ratio


def test_a_figure_that_cannot_be_had_says_why_and_keeps_its_target() -> None:
    figure = skipped("masks", "stock", "there is no GPU", 2.0)
    assert (figure.ratio, figure.at_least, figure.note) == (None, 2.0, "skipped: there is no GPU")


def test_on_a_cpu_the_processes_own_time_counts_not_that_it_sleeps() -> None:
    before = now("cpu")
    time.sleep(0.05)
    assert now("cpu") - before < 0.05
