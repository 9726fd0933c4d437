"""The names of devices, where no accelerator is and where there is one."""

from __future__ import annotations

import pytest
import torch

from pipeline.errors import RecipeError
from stages.devices import choose_device, describe_device
from tests.fake_cuda import NAME, FakeCuda


@pytest.mark.parametrize("accelerators", [0, 1])
def test_only_devices_that_are_there_are_taken(monkeypatch: pytest.MonkeyPatch, accelerators: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerators > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: accelerators)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if accelerators else "cpu")
    there = ["cuda", "cuda:0"] if accelerators else []
    assert [choose_device(name) for name in there] == there
    for name in {"cuda", "cuda:0", "cuda:1", "cudaX", "gpu", "mps", ""} - set(there):
        with pytest.raises(RecipeError, match="is not available"):
            choose_device(name)


def test_devices_have_names_for_people() -> None:
    assert [describe_device("cpu", threads) for threads in (1, 2)] == ["the CPU, 1 thread", "the CPU, 2 threads"]
    with FakeCuda():
        assert [describe_device(name, 1) for name in ("cuda", "cuda:1")] == [f"cuda:0, {NAME}", f"cuda:1, {NAME}"]
