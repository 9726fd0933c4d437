"""Work on an accelerator: in pieces that its memory holds; what goes wrong with the device is told in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from pipeline.errors import DeviceError, DeviceMemoryError, first_line

Result = TypeVar("Result")


def is_device_error(error: BaseException) -> bool:
    """Whether an error is the device's own: too little memory, or a failure after which it answers nothing more."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and str(error).startswith("CUDA error")
    )


@contextmanager
def device_errors(remedy: str) -> Generator[None]:
    """Turn an accelerator's errors into ours, which are not blamed on one panorama: every other one would fail too.

    Args:
        remedy: how the work could be made smaller.

    Raises:
        DeviceMemoryError: the device's memory is too small.
        DeviceError: it has failed otherwise.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(f"the device's memory is too small ({first_line(error)})",
                                "networks and what they work on must fit in",
                                f"Free memory on it, {remedy}, or use --device cpu") from error  # fmt: skip
    except RuntimeError as error:
        if not is_device_error(error):
            raise
        raise DeviceError(f"the device has failed ({first_line(error)})", "it must work",
                          "Run again, what is done is kept; if it fails again, check its driver or use --device cpu"
                          ) from error  # fmt: skip


class Pieces:
    """Work cut into pieces. One that does not fit into memory is halved, and all that follow are as small."""

    def __init__(self, unit: str, size: int) -> None:
        self.is_shrunk = False
        """Whether memory was too small for the size given."""
        self._unit = unit
        self._size = size

    def of(self, count: int, work: Callable[[slice], Result], weight: int = 1) -> Iterator[Result]:
        """Results for the units 0 to count, piece by piece.

        Args:
            count: units to do.
            work: what to do with a piece of them; it may be called again with a part of the same piece.
            weight: of one unit. A piece weighs no more than the size given, unless it is a single unit.

        Raises:
            DeviceMemoryError: not even one unit fits.
        """
        start = 0
        while start < count:
            length = min(max(1, self._size // weight), count - start)
            try:
                result = work(slice(start, start + length))
            except torch.OutOfMemoryError as error:
                if length == 1:
                    raise too_little(self._unit) from error
                self._size, self.is_shrunk = length * weight // 2, True
                continue
            yield result
            start += length


def too_little(unit: str) -> DeviceMemoryError:
    """The error for a unit that does not fit."""
    return DeviceMemoryError(f"one {unit} does not fit into the device's memory", "its network must have room for one",
                             'Free memory on it, set sam.precision = "bfloat16", take a smaller network, '
                             "or use --device cpu")  # fmt: skip
