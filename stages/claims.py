"""Who works where: one stage of a kind at a time on a folder, and none on a cache that is being tidied."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import CacheError
from stages.files import writing

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems and systems that have no locks; on these, nothing keeps a second process out."""
_TIDYING = "tidying"
_PATIENCE = 5.0
"""Seconds to wait for another process that just begins."""
_LONG_PATIENCE = 60.0
"""Seconds to wait for another process at work that takes a moment."""


@contextmanager
def exclusive_lock(folder: Path, stage: str, cache: Path | None = None) -> Generator[None]:
    """Hold the lock of `stage` on `folder`, which is made; a process that is killed releases it.

    Args:
        folder: what the stage writes to.
        stage: its name; another stage may work on the folder meanwhile.
        cache: the cache that holds the folder; it must not be being tidied.

    Raises:
        CacheError: another process holds the lock or is tidying the cache, or a folder
            cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder, stage)
    with _gate(cache) if cache else nullcontext():
        _acquire(lock, folder, stage)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def patient_lock(folder: Path, work: str) -> Generator[None]:
    """Hold the lock of short `work` on `folder`, which is made; another process that holds it is waited for.

    Raises:
        CacheError: it still holds it after a minute, or the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder, work, _LONG_PATIENCE)
    _acquire(lock, folder, work)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def tidying(cache: Path) -> Generator[None]:
    """While something is removed from a cache: no stage is at work in it, and none begins.

    Raises:
        CacheError: a stage is at work, or the cache cannot be written.
    """
    with _gate(cache):
        for file in (*cache.glob("*/.*.lock"), *cache.glob("*/*/.*.lock")):
            lock = _lock(file.parent, stage := file.name[1 : -len(".lock")])
            _acquire(lock, file.parent, stage)
            lock.release()
        yield


@contextmanager
def _gate(cache: Path) -> Generator[None]:
    """What stages pass when they begin, and who tidies keeps shut."""
    lock = _lock(cache, _TIDYING, _PATIENCE)
    _acquire(lock, cache, "gc or verify --discard")
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path, stage: str, patience: float = 0) -> FileLock:
    # Never a file that claims by being there: one that a killed process left would refuse everybody.
    return FileLock(folder / f".{stage}.lock", timeout=patience, fallback_to_soft=False)


def _acquire(lock: FileLock, folder: Path, stage: str) -> None:
    with writing(folder):
        try:
            lock.acquire()
        except Timeout as error:
            raise CacheError(f"another {stage} is already running in {folder}",
                             "only one may work on a folder at a time",
                             "Wait until it ends, or use another folder or run name") from error  # fmt: skip
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
