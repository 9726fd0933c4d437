"""Files with a few wrong bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def damaged_copies(whole: bytes, count: int, *, seed: int, within: int = 400, wrong: int = 3) -> Iterator[bytes]:
    """Copies of a file, each with some bytes changed at random.

    Args:
        whole: the file.
        count: how many copies.
        seed: of the random places and values.
        within: only the first that many bytes change, where a file says what it is.
        wrong: bytes changed in a copy.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), within), wrong):
            damaged[at] = rng.integers(256)
        yield bytes(damaged)
