"""One torch thread, as stage one has it: with more, torch rounds products and upsamplings by how it shares them out."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from pipeline.teacher.generator.batched_regions import part_sides
from pipeline.teacher.generator.regions import upsampling


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for tried in (part_sides, upsampling):  # by tests before these, perhaps with more threads
        tried.cache_clear()
    yield
    torch.set_num_threads(before)
