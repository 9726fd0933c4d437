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
    """The target ratio; None where a figure is for information."""
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


class Timing(NamedTuple):
    """What was measured of one program."""

    seconds: float
    """Median."""
    result: Any
    """What the last repetition returned."""


def time_interleaved(
    candidates: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu", warm_up: bool = True
) -> dict[str, Timing]:
    """Time several programs in turn, again and again (a b a b ...), so that a busy machine slows all of them alike.

    Args:
        candidates: the programs by name.
        repeats: runs of each that count.
        device: torch device; see `now`.
        warm_up: first run each once without counting.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    results = {name: candidate() for name, candidate in candidates.items()} if warm_up else {}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            started = now(device)
            results[name] = candidate()
            seconds[name].append(now(device) - started)
    return {name: Timing(statistics.median(seconds[name]), results[name]) for name in candidates}


def now(device: str) -> float:
    """Seconds: of this process's CPU time, which a busy machine disturbs least, or of the clock once a GPU is done."""
    if not device.startswith("cuda"):
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
