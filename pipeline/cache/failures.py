"""What the system says against reading and writing a store, as errors for people."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CacheError

GONE = (FileNotFoundError, NotADirectoryError)
"""The system's errors for a file that is not there."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


class MissingError(CacheError):
    """A panorama is not in the store."""


class DamagedError(CacheError):
    """A panorama in the store is not as it was written; once discarded, it counts as missing and can be done again."""


@contextmanager
def looking(what: Path | str) -> Generator[None]:
    """Turn what the system says against reading into an error for people.

    Raises:
        CacheError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise _unreadable(what, error) from error


def _unreadable(what: Path | str, error: OSError) -> CacheError:
    remedy = "Change its permissions" if error.errno in _FORBIDDEN else "Check the disk"
    return CacheError(f"{what} cannot be read ({_reason(error)})", "it must be readable", remedy)


def _reason(error: OSError) -> str:
    """What the system says; errors that a library raises have only a message."""
    return error.strerror or str(error)


@contextmanager
def reading(what: str) -> Generator[None]:
    """Tell damage, which doing the panorama again mends, from a file system that fails.

    Raises:
        DamagedError: anything else was raised; codecs raise all sorts of errors at damaged bytes.
        CacheError: the system could not read.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, GONE):
            raise _unreadable(what, error) from error
        raise DamagedError(
            f"{what} is damaged ({error})",
            "it must be as it was written",
            "Run `goodsam verify RECIPE --discard`, then `goodsam teacher-cache RECIPE` again: it computes only what "
            "is missing",
        ) from error


@contextmanager
def writing(what: Path | str, otherwise: str = "choose another cache folder") -> Generator[None]:
    """Turn what the system says against writing into an error for people; `otherwise` is what else they can do.

    Raises:
        CacheError: the system refused.
    """
    try:
        yield
    except OSError as error:
        expected, remedy = _expected_and_remedy(error)
        found = f"{what} cannot be written ({_reason(error)})"
        raise CacheError(found, expected, f"{remedy}, or {otherwise}") from error


def _expected_and_remedy(error: OSError) -> tuple[str, str]:
    """What writing needs, and what to do, by the system's error."""
    if error.errno in _FULL:
        return "the disk must have free space", "Free some space and run the command again (finished work is kept)"
    if error.errno in _FORBIDDEN:
        return "you must have write permission", "Change the folder's permissions"
    if error.errno in _IN_THE_WAY:
        return "a file must not be where a folder is needed, nor a folder where the file goes", "Move it away"
    return "the file system must accept it", "Check the disk and run the command again"
