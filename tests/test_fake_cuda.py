"""The fake GPU fails where a real one would, and records where the host waits."""

from __future__ import annotations

import pytest
import torch

from tests.fake_cuda import FakeCuda, FakeCudaTensor


def test_what_is_computed_there_is_what_is_computed_here() -> None:
    numbers = torch.arange(12.0).view(3, 4)
    with FakeCuda():
        there = numbers.to("cuda")
        assert isinstance(there, FakeCudaTensor)
        assert there.device == torch.device("cuda:0")
        found = (there.softmax(1) @ torch.ones(4, 2, device="cuda")).cpu()
    assert type(found) is torch.Tensor
    torch.testing.assert_close(found, numbers.softmax(1) @ torch.ones(4, 2))


def test_tensors_of_both_sides_do_not_meet() -> None:
    with FakeCuda(), pytest.raises(RuntimeError, match="on the GPU and tensors on the CPU"):
        _ = torch.ones(3, device="cuda") + torch.ones(3)


def test_waits_are_noted_and_nothing_else_is() -> None:
    with FakeCuda() as gpu:
        there = torch.arange(4.0).to("cuda")  # nothing is at work
        there.add_(1)
        there[1:].view(1, 3).to("cuda")
        torch.ones(4).to("cuda", non_blocking=True)
        there[there > 9] = 0.0
        assert gpu.waits == []
        there.cpu()
        there.cpu()  # all was done
        assert len(gpu.waits) == 1
        for wait in (
            lambda x: torch.tensor((1.0, 2.0), device="cuda"),
            lambda x: x.nonzero(),
            lambda x: x[x > 2],
            lambda x: x[torch.tensor([0, 1])],
            lambda x: bool(x.all()),
            lambda x: x.sum().item(),
        ):
            there.add_(1)
            before = len(gpu.waits)
            wait(there)
            assert len(gpu.waits) == before + 1
