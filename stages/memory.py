"""Keeps freed memory in the process, for the next array of the same size (of up to 32 MiB)."""

from __future__ import annotations

import ctypes
import os

MALLOC_SETTINGS = {"MALLOC_TRIM_THRESHOLD_": 1 << 30, "MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_ARENA_MAX": 1}
"""glibc's settings by their environment variables. By default it returns large arrays to the system as soon as they are
freed, and dask makes workers return everything; the system then maps and zeroes pages for the next array. With a
network's thousands of arrays, work can take several times as long. Arrays above the threshold, the highest that glibc
allows, are returned all the same. All threads share one arena: more arenas would return more."""
_PARAMETER = {"MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_ARENA_MAX": -8}


def keep_freed_memory() -> None:
    """Apply MALLOC_SETTINGS to this process, except for those set in its environment; without glibc, do nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, value in MALLOC_SETTINGS.items():
        if variable not in os.environ:
            mallopt(_PARAMETER[variable], value)
