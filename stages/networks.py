"""The networks of a process, loaded once and shared by its threads; and the number of torch threads while they work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

import torch

from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.config import AssistantConfig, SamConfig
from pipeline.teacher.mask_source import MaskSource, load_mask_source

Config = TypeVar("Config", SamConfig, AssistantConfig)
Network = TypeVar("Network")


class CachedLoader(Generic[Config, Network]):
    """A loader that keeps what it loaded last, of each role; threads that ask meanwhile wait for it and share it."""

    def __init__(self, load: Callable[[Config, str], Network]) -> None:
        self._load = load
        self._loaded: dict[str, tuple[tuple[Config, str, str], Network]] = {}
        self._lock = Lock()

    def __call__(self, config: Config, device: str, fingerprint: str, role: str = "") -> Network:
        """The network of these settings on a device; another fingerprint, with other weights perhaps, loads anew.

        Args:
            config: settings.
            device: torch device.
            fingerprint: of what it computes.
            role: which of several networks it is, all of which are kept: the second assistant for instance.
        """
        asked = (config, device, fingerprint)
        with self._lock:
            known = self._loaded.get(role)
            if known is None or known[0] != asked:
                self._loaded.pop(role, None)  # before the other is loaded: there may be no room for both
                self._loaded[role] = known = (asked, self._load(config, device))
            return known[1]

    def forget(self) -> None:
        """Load it anew the next time."""
        self._loaded.clear()


@CachedLoader
def mask_source(config: SamConfig, device: str) -> MaskSource:
    """What finds SAM's masks."""
    return load_mask_source(config, torch.device(device))


@CachedLoader
def assistant(config: AssistantConfig, device: str) -> Assistant:
    """The teacher assistant."""
    return load_assistant(config, torch.device(device))


class TorchThreads:
    """The number of torch threads while tasks run; a thread whose task is done has the number again that there was
    before the first of those at work.

    torch keeps a number per thread that calls it, and one for threads that have not called it yet.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tasks = self._before = 0

    @contextmanager
    def set_to(self, count: int) -> Generator[None]:
        """While a task runs in the calling thread, which does one at a time."""
        with self._lock:
            found = torch.get_num_threads()  # asked always: a thread's own number counts only once torch has been asked
            if self._tasks == 0:
                self._before = found
            self._tasks += 1
            torch.set_num_threads(count)
        try:
            yield
        finally:
            with self._lock:
                self._tasks -= 1
                torch.set_num_threads(self._before)


torch_threads = TorchThreads()
"""Those of this process."""
