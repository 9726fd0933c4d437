"""Hypothesis without deadlines: a machine may be busy. Tests marked `gpu` are skipped where there is none."""

import pytest
from hypothesis import settings

settings.register_profile("goodsam", deadline=None)
settings.load_profile("goodsam")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; torch is asked only if a test wants one."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device: the GPU itself is not checked"))
