"""Freed memory stays with the process, for the next array of the same size (of up to 32 MiB)."""

from __future__ import annotations

import ctypes
import os

KEEPING = {"MALLOC_TRIM_THRESHOLD_": 1 << 30, "MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_ARENA_MAX": 1}
"""glibc's settings by their environment variables. By default it gives large arrays back to the system as soon as they
are freed, and dask has its workers give back everything; the system then hands out and zeroes the pages of the next
array anew. A network's arrays come and go by the thousand, and the work can take several times as long. Arrays above
the threshold, the highest that glibc takes, go back all the same. All threads share one arena: more of them would give
back more."""
_PARAMETER = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_ARENA_MAX": -8}


def keep_freed_memory() -> None:
    """Apply KEEPING to this process, except for what its environment sets; without glibc, do nothing."""
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is None:
        return
    for variable, value in KEEPING.items():
        if variable not in os.environ:
            change(_PARAMETER[variable], value)
