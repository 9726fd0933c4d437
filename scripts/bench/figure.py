"""A figure: two programs that do the same, side by side in one process, by the median of interleaved repetitions."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

CPU_SECONDS = "CPU seconds on any device"
"""Note of the figures of what no other device does."""


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    name: str
    """What is measured."""
    peer: str
    """The other program."""
    peer_seconds: float | None = None
    """Its median; None where nothing was compared or measured."""
    our_seconds: float | None = None
    """Ours."""
    at_least: float | None = None
    """The ratio that is aimed at; None where a figure is for information."""
    identical: bool | None = None
    """Whether the results are equal; None where they cannot be (another precision, another program)."""
    note: str = ""
    """What else was found, or why the figure was left out."""

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return self.peer_seconds / self.our_seconds if self.peer_seconds and self.our_seconds else None


def skipped(name: str, peer: str, reason: str, at_least: float | None = None) -> Figure:
    """A figure that this machine or installation cannot give."""
    return Figure(name, peer, at_least=at_least, note=f"skipped: {reason}")


class Lap(NamedTuple):
    """How one contestant did."""

    seconds: float
    """Median."""
    result: Any
    """What the last repetition returned."""


def race(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu", warm_up: bool = True
) -> dict[str, Lap]:
    """Run all contestants in turn, again and again (a b a b ...), so that a busy machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    results = {name: contestant() for name, contestant in contestants.items()} if warm_up else {}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            started = now(device)
            results[name] = contestant()
            seconds[name].append(now(device) - started)
    return {name: Lap(statistics.median(seconds[name]), results[name]) for name in contestants}


def now(device: str) -> float:
    """Seconds: of this process's CPU time, which a busy machine disturbs least, or of the clock once a GPU is done."""
    if not device.startswith("cuda"):
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
