"""Work on an accelerator: batches that fit into its memory, and its errors as sentences for people."""

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
    """Turn an accelerator's errors into ours, which end the run: every other panorama would fail too.

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
                                "networks and their inputs must fit into it",
                                f"Free memory on it, {remedy}, or use --device cpu") from error  # fmt: skip
    except RuntimeError as error:
        if not is_device_error(error):
            raise
        raise DeviceError(f"the device has failed ({first_line(error)})", "every computation must succeed",
                          "Run the command again (finished work is kept); if it fails again, check the driver or use "
                          "--device cpu"
                          ) from error  # fmt: skip


class AdaptiveBatches:
    """Splits work into batches. One that does not fit into memory is halved, as are all that follow.

    Args:
        unit: what is counted, for messages ("window").
        size: the largest weight of a batch.
    """

    def __init__(self, unit: str, size: int) -> None:
        self.is_shrunk = False
        """Whether memory was too small for the size given."""
        self._unit = unit
        self._size = size

    def map(self, count: int, work: Callable[[slice], Result], weight: int = 1) -> Iterator[Result]:
        """Results of `work` for the units 0 to count, batch by batch.

        Args:
            count: number of units.
            work: called with a batch of them; after too little memory it is called again with a part of that batch.
            weight: of one unit. A batch weighs no more than the size given, unless it is a single unit.

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
                    raise out_of_memory(self._unit) from error
                self._size, self.is_shrunk = length * weight // 2, True
                continue
            yield result
            start += length


def out_of_memory(unit: str) -> DeviceMemoryError:
    """The error for a single unit (a "window", say) that does not fit."""
    return DeviceMemoryError(f"one {unit} does not fit into the device's memory", "at least one must fit",
                             'Free memory on it, set sam.precision = "bfloat16", take a smaller network, '
                             "or use --device cpu")  # fmt: skip
