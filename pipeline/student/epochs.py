"""The endless order in which a training reads its panoramas: a function of the seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.errors import RERUN_STAGE_ONE, CacheError, GoodSAMError

Sample = TypeVar("Sample")
_STREAM = 0
"""Random stream of the order of samples."""


class Epochs(Generic[Sample]):
    """Samples of a set of panoramas without end: every epoch has each panorama once, in an order of its own.

    One that cannot be read is set aside, and replaced by the next in that order.
    """

    def __init__(self, ids: Sequence[str], read: Callable[[str], Sample], seed: int) -> None:
        """`read` reads the panorama of an id; the order of `ids` must not change between runs."""
        self._ids, self._read, self._seed = tuple(ids), read, seed
        self.failed: dict[str, str] = {}
        """Ids that could not be read, with the reason."""

    def sample(self, number: int) -> Sample:
        """The `number`-th sample, from 0.

        Raises:
            CacheError: no panorama can be read.
        """
        epoch, position = divmod(number, len(self._ids))
        for index in np.roll(shuffled(len(self._ids), self._seed, epoch), -position):
            if (panorama_id := self._ids[index]) in self.failed:
                continue
            try:
                return self._read(panorama_id)
            except GoodSAMError as error:
                self.failed[panorama_id] = str(error)
        reason = next(iter(self.failed.values())).rstrip(".")
        raise CacheError(f"no panorama can be read ({reason})", "at least one must be readable", RERUN_STAGE_ONE)


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """The order of an epoch: a permutation of 0 .. count - 1 that depends on the arguments alone."""
    return np.random.default_rng((seed, _STREAM, epoch)).permutation(count)
