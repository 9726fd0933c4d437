"""Hypothesis without deadlines: a machine may be busy. Tests marked `gpu` are skipped where there is none.

Three things make the tests cheaper and change no result: garbage is not collected while modules are imported, and what
was imported is left out of it afterwards; nothing is forced onto the disk, for no test outlives a power cut; and torch
has one thread where a test does not ask for more.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which is later
settings.register_profile("goodsam", deadline=None)
settings.load_profile("goodsam")
gc.disable()  # until all modules are imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; torch is asked only if a test wants one."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device: the GPU itself is not checked"))


def pytest_collection_finish() -> None:
    """Modules are there now, with half a million objects that a collection would visit each time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def without_syncing() -> Generator[None]:
    """Files are as durable as the system makes them by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def pytest_unconfigure() -> None:
    """Libraries that count their objects at exit find them collected."""
    gc.unfreeze()


@pytest.fixture(scope="module")
def one_thread() -> Generator[None]:
    """torch computes with one thread, in this process: only with equally many are sums bit for bit the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
