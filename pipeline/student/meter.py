"""Means of the losses for the log, and the check that stops a training that has diverged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import GoodSAMError


class LossMeter:
    """Means of losses since the last `read`, each over the steps that have it.

    They are summed on the device: only `read` and `check` wait for it.
    """

    def __init__(self, remedy: str, counted: Mapping[str, tuple[float, int]] | None = None) -> None:
        """Empty, or going on.

        Args:
            remedy: what to do about a loss that is not finite, for the error.
            counted: what another meter has `counted`.
        """
        self._remedy = remedy
        self._sums = {name: torch.tensor(value) for name, (value, _) in (counted or {}).items()}
        self._counts = Counter({name: steps for name, (_, steps) in (counted or {}).items()})
        self._first: int | None = None
        self._last = 0

    @property
    def counted(self) -> dict[str, tuple[float, int]]:
        """(Sum, number of steps that have it) by name since the last `read`."""
        return {name: (float(value), self._counts[name]) for name, value in self._sums.items()}

    def add(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Count the values of one step."""
        self._first = step if self._first is None else self._first
        self._last = step
        self._counts.update(values.keys())
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()

    def read(self) -> dict[str, float]:
        """Means by name; starts again from zero.

        Raises:
            GoodSAMError: as `check`.
        """
        means = self.check()
        self._sums, self._counts, self._first = {}, Counter(), None
        return means

    def check(self) -> dict[str, float]:
        """Means by name.

        Raises:
            GoodSAMError: one is NaN or infinite; the weights are useless then, and no checkpoint may be written.
        """
        means = {name: float(value) / self._counts[name] for name, value in self._sums.items()}
        broken = [name for name, mean in means.items() if not math.isfinite(mean)]
        if broken:
            raise GoodSAMError(
                f"{', '.join(broken)} became NaN or infinite in steps {(self._first or 0) + 1} to {self._last + 1}",
                "all losses must stay finite",
                f"{self._remedy}; the last checkpoint was not changed",
            )
        return means
