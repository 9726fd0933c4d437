"""What the system says becomes a sentence that says what to do; damage is told from a disk that fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from pipeline.cache.failures import DamagedError, MissingError, looking, reading, writing
from pipeline.errors import CacheError

Translation = Callable[[str], AbstractContextManager[None]]


def raised(translation: Translation, error: BaseException) -> CacheError:
    """What becomes of an error."""
    with pytest.raises(CacheError) as caught, translation("the store"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


def system_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            errno.ENOSPC,
            "(No space left on device); the disk must have free space. Free some space and run the command again",
        ),
        (errno.EDQUOT, "the disk must have free space. Free some space"),
        (errno.EROFS, "(Read-only file system); you must have write permission. Change the folder's"),
        (errno.EACCES, "(Permission denied); you must have write permission. Change the folder's"),
        (errno.EPERM, "you must have write permission"),
        (errno.EIO, "(Input/output error); the file system must accept it. Check the disk"),
    ],
)
def test_what_is_said_against_writing_has_its_remedy(code: int, says: str) -> None:
    error = raised(writing, system_error(code))
    assert str(error).startswith("the store cannot be written")
    assert says in str(error)


@pytest.mark.parametrize("translation", [looking, reading])
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.EACCES, "the store cannot be read (Permission denied); it must be readable. Change its permissions."),
        (errno.EIO, "the store cannot be read (Input/output error); it must be readable. Check the disk."),
    ],
)
def test_what_is_said_against_reading_is_no_damage(translation: Translation, code: int, says: str) -> None:
    error = raised(translation, system_error(code))
    assert str(error) == says
    assert not isinstance(error, DamagedError)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "No such file"), NotADirectoryError(20, "Not a directory"), ValueError("bad"), KeyError("x"),
     RuntimeError("zstd")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_all_else_that_reading_raises_is_damage_that_doing_it_again_mends(error: Exception) -> None:
    damage = raised(reading, error)
    assert isinstance(damage, DamagedError)
    assert str(damage).startswith(f"the store is damaged ({error}); it must be as it was written.")
    assert damage.remedy.startswith("Run `goodsam verify RECIPE --discard`, then `goodsam teacher-cache RECIPE`")


@pytest.mark.parametrize("translation", [looking, reading, writing])
def test_an_error_that_a_library_raises_without_a_number_keeps_its_message(translation: Translation) -> None:
    assert "(the archive is closed)" in str(raised(translation, OSError("the archive is closed")))


def test_want_of_memory_is_no_damage() -> None:
    with pytest.raises(MemoryError), reading("the store"):
        raise MemoryError


@pytest.mark.parametrize("translation", [looking, writing])
def test_errors_that_are_not_the_systems_pass_by(translation: Translation) -> None:
    with pytest.raises(ValueError, match="mine"), translation("the store"):
        raise ValueError("mine")


@pytest.mark.parametrize("translation", [looking, reading, writing])
def test_ctrl_c_passes_by(translation: Translation) -> None:
    with pytest.raises(KeyboardInterrupt), translation("the store"):
        raise KeyboardInterrupt


def test_missing_is_not_damaged() -> None:
    assert not issubclass(MissingError, DamagedError)
    assert not issubclass(DamagedError, MissingError)
