"""How far a training has come."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far a training has come; part of its checkpoint."""

    steps: int = 0
    """Steps done."""
    losses: dict[str, float] = field(default_factory=dict[str, float])
    """Means at the last line of the log that has them."""
    set_aside: dict[str, str] = field(default_factory=dict[str, str])
    """Panoramas that could not be read at some time, with the reason."""
    validated: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    """Figures of every validation so far, each with its `step`."""
    running: dict[str, tuple[float, int]] = field(default_factory=dict[str, tuple[float, int]])
    """What `LossMeter` has counted for the next line of the log."""
