"""The processes that train one student together, as `torchrun` starts them; a single one otherwise.

    torchrun --nproc-per-node 2 -m stages.cli distill my.toml

The first process (rank 0) reads and writes all files of the student, and tells of the progress; the others compute.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import distributed

from pipeline.errors import CacheError, DeviceError, InputError, RecipeError
from pipeline.student.processes import BatchPart
from stages import torchrun

T = TypeVar("T")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL error: remote process exited")
"""Parts of the errors that gloo and NCCL raise where another process is gone."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    """Its number, from 0."""
    count: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    def share(self, value: T) -> T:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        values: list[Any] = [value if self.is_first else None]
        distributed.broadcast_object_list(values, src=0)
        return cast(T, values[0])

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank, in all of them."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return cast(list[T], values)

    def require_same(self, fingerprint: str) -> None:
        """Refuse to train together on different things, as on machines with different caches.

        Raises:
            CacheError: the first process has another fingerprint.
        """
        if fingerprint != self.share(fingerprint):
            raise CacheError("the processes that train together see different panoramas, caches or settings",
                             "all must see the same files under the same paths",
                             "Run them with the same recipe on a shared cache")  # fmt: skip

    def part_of(self, batch_size: int) -> BatchPart:
        """The samples of every batch that this process takes.

        Raises:
            RecipeError: there are more processes than samples.
        """
        if self.count > batch_size:
            raise RecipeError(f"distill.batch_size is {batch_size}, but {self.count} processes train together",
                              "each needs at least one panorama of every batch",
                              "Start fewer processes, or raise distill.batch_size")  # fmt: skip
        return BatchPart.of(batch_size, self.rank, self.count)


ALONE = Ranks()
"""A single process."""


@contextmanager
def training_together(device: str) -> Generator[tuple[Ranks, str]]:
    """Meet the processes that torchrun has started with this one, over NCCL on GPUs and gloo on CPUs.

    Args:
        device: torch device; of GPUs each process takes the one of its number on this machine.

    Yields:
        This process among them, and its device.

    Raises:
        InputError: there are more processes on this machine than GPUs.
        DeviceError: another process has ended.
    """
    if not torchrun.are_several():
        yield Ranks(), device
        return
    kind = torch.device(device).type
    if kind == "cuda":
        device = _own_gpu(torchrun.local_rank())
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size()), device
    except RuntimeError as error:
        if not any(word in str(error) for word in _LOST):
            raise
        raise DeviceError("another process of this training has ended", "all must run until the end",
                          "Look at the error of that process; the same command resumes") from error  # fmt: skip
    finally:
        distributed.destroy_process_group()


def _own_gpu(number: int) -> str:
    if number >= torch.cuda.device_count():
        raise InputError(f"torchrun has started process {number} on this machine, which has "
                         f"{torch.cuda.device_count()} GPUs", "each process takes a GPU of its own",
                         "Lower --nproc-per-node, or pass --device cpu")  # fmt: skip
    return f"cuda:{number}"
