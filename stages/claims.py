"""One process at a time works on an output folder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import CacheError
from stages.files import writing


@contextmanager
def claimed(folder: Path, stage: str) -> Generator[None]:
    """While `stage` works on `folder`; the claim of a process that was killed ends with it.

    Raises:
        CacheError: another process has claimed the folder for the same stage, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{stage}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise CacheError(f"another {stage} is at work in {folder}", "one works at a time",
                             "Wait for it, or give this run a name of its own") from error  # fmt: skip
    try:
        yield
    finally:
        lock.release()
