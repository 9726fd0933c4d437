"""One torch thread, as stage one has it: with more, torch rounds products and upsamplings by how it shares them out."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from pipeline.teacher.generator.batched_regions import tile_sides


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    tile_sides.cache_clear()  # tried by tests before these, perhaps with more threads
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Generator[int]:
    """torch has another kernel where it has several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
