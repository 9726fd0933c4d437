"""One family of errors: every message says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Sequence


class GoodSAMError(Exception):
    """Base of all errors that a user can fix; the command line prints them without a traceback.

    Args:
        found: what was found, naming the file or setting ("street.jpg is 4096x1600").
        expected: what was expected ("a full panorama is 2:1").
        remedy: what to do ("Pass --vertical-fov 140.6 for a band").
    """

    def __init__(self, found: str, expected: str, remedy: str) -> None:
        super().__init__(found, expected, remedy)  # the arguments, so that it survives pickling
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.found}; {self.expected}. {self.remedy}."


class InputError(GoodSAMError):
    """A panorama, label or mask file (or a folder of them) cannot be used."""


class RecipeError(GoodSAMError):
    """A recipe has an unknown key or a value outside what is allowed."""


class WeightsError(GoodSAMError):
    """A checkpoint is missing, broken or of the wrong kind."""


class CacheError(GoodSAMError):
    """The store cannot be written, or lacks or contradicts what is asked for."""


class WorkerError(GoodSAMError):
    """A worker process died."""


class DeviceError(GoodSAMError):
    """An accelerator has failed."""


class DeviceMemoryError(DeviceError):
    """An accelerator has too little memory for the smallest piece of work."""


RERUN_STAGE_ONE = "Run `goodsam teacher-cache` again: it computes only what is missing"
"""What to do about a panorama that the store lacks, or has of other settings."""


def counted(number: int, noun: str) -> str:
    """A number of things, for a sentence: "1 panorama", "3 panoramas"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_few(names: Sequence[object], limit: int = 3) -> str:
    """The first names of a list, for one sentence: "a, b, c, ..."."""
    return ", ".join(map(str, names[:limit])) + (", ..." if len(names) > limit else "")


def first_line(error: Exception) -> str:
    """The message of another library's error, short enough for one sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")[:200]
