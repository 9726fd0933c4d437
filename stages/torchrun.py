"""What `torchrun` tells the processes that it starts; read before torch is imported."""

from __future__ import annotations

import os

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def are_several() -> bool:
    """Whether torchrun has started this process together with others."""
    return all(name in os.environ for name in _VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


def rank() -> int:
    """Number of this process among them; 0 where it is alone."""
    return int(os.environ["RANK"]) if are_several() else 0


def local_rank() -> int:
    """Number of this process on its machine; 0 where it is alone."""
    return int(os.environ["LOCAL_RANK"]) if are_several() else 0
