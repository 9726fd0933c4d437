"""One teacher-cache, distill, eval or predict at a time works on its folder, one fetch-weights on a checkpoint."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import CacheError
from stages.files import writing

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems that have no locks; on these, nothing keeps a second process out."""


@contextmanager
def claimed(folder: Path, stage: str) -> Generator[None]:
    """While `stage` works on `folder`, which is made; the claim of a process that was killed ends with it.

    Raises:
        CacheError: another process has claimed the folder for the same stage, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f".{stage}.lock").open("ab")
    with lock:  # a lock ends with its file
        with writing(folder):
            _lock(lock, folder, stage)
        yield


def _lock(file: BinaryIO, folder: Path, stage: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CacheError(f"another {stage} is at work in {folder}", "only one may work on a folder at a time",
                         "Wait for it, or take another folder or another name for the run") from error  # fmt: skip
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
