"""One teacher-cache, distill, eval or predict at a time works on its folder, one fetch-weights on a checkpoint."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import CacheError
from stages.files import writing

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems and systems that have no locks; on these, nothing keeps a second process out."""


@contextmanager
def claimed(folder: Path, stage: str) -> Generator[None]:
    """While `stage` works on `folder`, which is made; the claim of a process that was killed ends with it.

    Raises:
        CacheError: another process has claimed the folder for the same stage, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Never a file that claims by being there: one that a killed process left would refuse everybody.
        lock = FileLock(folder / f".{stage}.lock", blocking=False, fallback_to_soft=False)
        _acquire(lock, folder, stage)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, stage: str) -> None:
    try:
        lock.acquire()
    except Timeout as error:
        raise CacheError(f"another {stage} is already running in {folder}", "only one may work on a folder at a time",
                         "Wait until it ends, or use another folder or run name") from error  # fmt: skip
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
