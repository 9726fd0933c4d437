"""Networks are loaded once and shared by threads, and torch's threads are as before when a task is done."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pipeline.teacher.config import SamConfig
from stages import networks
from stages.networks import CachedLoader, TorchThreads


def test_threads_that_need_a_network_at_once_load_it_once() -> None:
    loaded: list[str] = []

    def load(config: SamConfig, device: str) -> object:
        loaded.append(device)
        time.sleep(0.1)
        return object()

    network = networks.CachedLoader(load)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: network(SamConfig(), "cpu", "print"), range(4)))
    assert loaded == ["cpu"]
    assert len(set(map(id, found))) == 1
    assert network(SamConfig(), "cpu", "other weights") is not found[0]


@pytest.fixture
def loader() -> tuple[CachedLoader[SamConfig, list[str]], list[str]]:
    """A loader, and what it has loaded."""
    loaded: list[str] = []

    def load(config: SamConfig, device: str) -> list[str]:
        loaded.append(f"{config.points_per_side} {device}")
        return loaded[-1:]

    return CachedLoader(load), loaded


def test_what_was_loaded_last_is_kept_until_something_else_is_asked_for(
    loader: tuple[CachedLoader[SamConfig, list[str]], list[str]],
) -> None:
    network, loaded = loader
    first = network(SamConfig(), "cpu", "a")
    assert network(SamConfig(), "cpu", "a") is first
    for other in ((SamConfig(points_per_side=3), "cpu", "a"), (SamConfig(), "cuda", "a"), (SamConfig(), "cpu", "b")):
        assert network(*other) is not first
    assert len(loaded) == 4 and network(SamConfig(), "cpu", "a") is not first, "only the last one is kept"


def test_networks_of_several_roles_are_kept_side_by_side(
    loader: tuple[CachedLoader[SamConfig, list[str]], list[str]],
) -> None:
    network, loaded = loader
    first, second = (network(SamConfig(), "cpu", role, role) for role in ("one", "two"))
    assert network(SamConfig(), "cpu", "one", "one") is first and network(SamConfig(), "cpu", "two", "two") is second
    assert len(loaded) == 2
    network.forget()
    assert network(SamConfig(), "cpu", "one", "one") is not first


def test_a_network_that_cannot_be_loaded_is_tried_again() -> None:
    attempts = iter([OSError("gone"), None])

    def load(config: SamConfig, device: str) -> str:
        if error := next(attempts):
            raise error
        return "loaded"

    network = CachedLoader(load)
    with pytest.raises(OSError, match="gone"):
        network(SamConfig(), "cpu", "a")
    assert network(SamConfig(), "cpu", "a") == "loaded"


def test_threads_of_torch_are_as_before_when_a_task_is_done() -> None:
    threads, before = TorchThreads(), torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads.set_to(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_a_thread_whose_task_is_done_has_the_number_of_before_while_others_work() -> None:
    threads, before = TorchThreads(), torch.get_num_threads()
    second_has_begun, first_is_done = threading.Event(), threading.Event()

    def other() -> int:
        with threads.set_to(before + 1):
            second_has_begun.set()
            first_is_done.wait(10)
            return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        with threads.set_to(before + 1):
            found = pool.submit(other)
            assert second_has_begun.wait(10)
        assert torch.get_num_threads() == before
        first_is_done.set()
        assert found.result() == before + 1, "the task that is still at work keeps its number"
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before, "further threads have that of before"
