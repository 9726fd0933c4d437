"""What all figures share: how often, where, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam


@dataclass(frozen=True)
class Setup:
    """How to measure."""

    wanted: Set[str]
    """Names of the figures that are asked for."""
    repeats: int = 3
    """Interleaved repetitions of the slow figures; the quick ones have ten times as many."""
    device: str = "cpu"
    """Torch device of the networks."""
    build_sam: Callable[[str], Sam] = lambda size: random_sam(size)
    """A SAM of random weights by its size."""

    @property
    def many(self) -> int:
        """Repetitions of figures that take milliseconds."""
        return 10 * self.repeats


def random_sam(size: str) -> Sam:
    """SAM as segment_anything builds it, its weights random: they cost as much time as trained ones."""
    torch.manual_seed(0)
    return sam_model_registry[size]().eval()
