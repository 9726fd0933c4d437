"""One batch over several processes, which are threads here: what each computes is what one would of the whole batch."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from pipeline.errors import RecipeError
from pipeline.student.processes import (
    BatchNormOverProcesses,
    BatchPart,
    WholeBatchRandomness,
    are_several,
    average_gradients,
    batch_sum,
    share_norms,
)

T = TypeVar("T")
Together = Callable[[int, Callable[[int], T]], list[T]]
"""Runs a function of the rank in so many processes; what it returned, by rank."""


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Together[object]:
    """Threads for processes; where these would wait for each other's tensors, so do they."""

    def run(processes: int, work: Callable[[int], object]) -> list[object]:
        meet, brought = threading.Barrier(processes, timeout=30), dict[int, Tensor]()

        def all_reduce(tensor: Tensor) -> None:
            brought[threading.get_ident()] = tensor.clone()
            meet.wait()
            total = torch.stack([*brought.values()]).sum(dim=0)
            meet.wait()
            brought.clear()
            meet.wait()
            tensor.copy_(total)

        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: processes)
        monkeypatch.setattr(distributed, "all_reduce", all_reduce)
        with ThreadPoolExecutor(processes) as threads:
            return list(threads.map(work, range(processes)))

    return run


def test_parts_of_a_batch_are_disjoint_whole_and_nearly_equal() -> None:
    for size, processes in ((4, 2), (3, 2), (7, 3), (5, 5), (1, 1)):
        parts = [BatchPart.of(size, rank, processes) for rank in range(processes)]
        samples = [sample for part in parts for sample in range(part.start, part.stop)]
        assert samples == list(range(size))
        lengths = [part.stop - part.start for part in parts]
        assert max(lengths) - min(lengths) <= 1
    assert BatchPart.of(4).is_whole and not BatchPart.of(4, 0, 2).is_whole


def test_a_single_process_sums_and_averages_nothing() -> None:
    assert not are_several()
    of_part, parameter = torch.ones(3), nn.Parameter(torch.zeros(2))
    assert batch_sum(of_part) is of_part
    parameter.grad = torch.tensor([1.0, 2.0])
    average_gradients([parameter])
    assert parameter.grad.tolist() == [1, 2]


def test_sums_and_gradients_are_those_of_the_whole_batch(together: Together[tuple[float, Tensor]]) -> None:
    """A loss that is no sum over samples: the square of a mean."""
    values, start = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), torch.tensor([0.5, -1.0])

    def loss_of(weights: Tensor, part: Tensor) -> Tensor:
        mean = batch_sum((weights[0] * part + weights[1]).sum()) / len(values)
        return mean.square()

    def work(rank: int) -> tuple[float, Tensor]:
        part, weights = BatchPart.of(len(values), rank, 3), nn.Parameter(start.clone())
        loss = loss_of(weights, values[part.start : part.stop])
        loss.backward()
        average_gradients([weights])
        assert weights.grad is not None
        return float(loss.detach()), weights.grad

    alone = nn.Parameter(start.clone())
    loss = loss_of(alone, values)
    loss.backward()
    for own_loss, gradient in together(3, work):
        assert own_loss == pytest.approx(float(loss.detach()))
        torch.testing.assert_close(gradient, alone.grad)


def test_gradients_are_averaged_each_in_its_shape_and_frozen_parameters_have_none(
    together: Together[list[Tensor | None]],
) -> None:
    def work(rank: int) -> list[Tensor | None]:
        parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(3))]
        parameters[0].grad = torch.arange(4.0).reshape(2, 2) * (rank + 1)
        parameters[2].grad = torch.full((3,), float(rank))
        average_gradients(parameters)
        return [parameter.grad for parameter in parameters]

    for first, frozen, last in together(2, work):
        torch.testing.assert_close(first, torch.arange(4.0).reshape(2, 2) * 1.5)
        assert frozen is None
        torch.testing.assert_close(last, torch.full((3,), 0.5))


def pixels(batch: int = 5) -> Tensor:
    return torch.randn(batch, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


def norm(**options: object) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    made = nn.BatchNorm2d(3, **options)  # type: ignore[arg-type]
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def passed(module: nn.Module, part: Tensor, steps: int = 2) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output, the input's gradient, and the module's statistics, after some steps in training."""
    module.train()
    given = part.clone().requires_grad_()
    output = module(given)
    for _ in range(steps - 1):
        output = module(given)
    (output * torch.linspace(-1, 1, output[0].numel()).reshape(output[0].shape)).sum().backward()
    assert given.grad is not None
    return output.detach(), given.grad, [buffer.clone() for buffer in module.buffers()]


@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
def test_a_norm_over_processes_is_that_of_the_whole_batch(
    together: Together[tuple[Tensor, Tensor, list[Tensor]]], options: dict[str, object]
) -> None:
    expected = passed(norm(**options), pixels())
    networks = [nn.Sequential(copy.deepcopy(norm(**options))) for _ in range(2)]
    for network in networks:
        share_norms(network)
        assert isinstance(network[0], BatchNormOverProcesses)
        assert network.state_dict().keys() == nn.Sequential(norm(**options)).state_dict().keys()

    def work(rank: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        part = BatchPart.of(5, rank, 2)
        return passed(networks[rank], pixels()[part.start : part.stop])

    found = together(2, work)
    torch.testing.assert_close(torch.cat([output for output, *_ in found]), expected[0])
    torch.testing.assert_close(torch.cat([gradient for _, gradient, _ in found]), expected[1], atol=1e-5, rtol=1e-4)
    for _, _, statistics in found:
        assert len(statistics) == len(expected[2])
        for own, of_all in zip(statistics, expected[2], strict=True):
            torch.testing.assert_close(own, of_all)
        if statistics:
            assert int(statistics[-1]) == 2, "steps are counted"


def test_a_norm_that_predicts_or_is_alone_is_torchs_own() -> None:
    shared = nn.Sequential(norm())
    share_norms(shared)
    torch.testing.assert_close(passed(shared, pixels()), passed(norm(), pixels()))
    shared.eval()
    assert torch.equal(shared(pixels()[:1]), shared[0].eval()(pixels()[:1]))


def test_norms_of_a_kind_of_their_own_are_refused() -> None:
    """timm's, which end in an activation: each process would follow the statistics of its part of the batch."""

    class WithActivation(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - a name
            return super().forward(x).relu()

    with pytest.raises(RecipeError, match="batch norms of the kind WithActivation"):
        share_norms(nn.Sequential(norm(), WithActivation(3)))


def test_a_norm_gives_the_precision_that_it_gets(together: Together[torch.dtype]) -> None:
    def work(_: int) -> torch.dtype:
        return BatchNormOverProcesses(3).train()(pixels().bfloat16()).dtype

    assert together(2, work) == [torch.bfloat16] * 2


def drawn(draw: Callable[[int], Tensor], parts: Iterable[BatchPart]) -> Tensor:
    """What the processes of these parts draw, one below the other."""
    found: list[Tensor] = []
    for part in parts:
        torch.manual_seed(3)
        with WholeBatchRandomness(part):
            found.append(draw(part.stop - part.start))
    return torch.cat(found)


def whole(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    torch.manual_seed(3)
    return draw(batch)


PARTS = [BatchPart.of(5, rank, 2) for rank in range(2)]


@pytest.mark.parametrize("channels_last", [False, True])
def test_dropout_of_the_parts_is_that_of_the_batch(channels_last: bool) -> None:
    def draw(samples: int) -> Tensor:
        ones = torch.ones(samples, 3, 8, 8)
        if channels_last:
            ones = ones.contiguous(memory_format=torch.channels_last)
        dropped = functional.dropout(ones, 0.4, True)
        return functional.dropout(dropped, p=0.25, training=True)

    expected = whole(draw, 5)
    assert torch.equal(drawn(draw, PARTS), expected)
    assert 0.3 < float((expected == 0).float().mean()) < 0.8 and float(expected.max()) == pytest.approx(1 / 0.6 / 0.75)


def test_dropout_of_several_rows_per_sample_is_that_of_the_batch() -> None:
    """MobileViT's attention is apart for each of the four pixels of a patch, which are rows of the first axis."""

    def draw(samples: int) -> Tensor:
        return functional.dropout(torch.ones(4 * samples, 6, 8), 0.4, True)

    assert torch.equal(drawn(draw, PARTS), whole(draw, 5))


def test_channels_that_the_parts_drop_are_those_of_the_batch() -> None:
    """MobileViT and MobileNetV2 do so before their classifier."""

    def draw(samples: int) -> Tensor:
        return functional.dropout2d(torch.ones(samples, 32, 2, 2), 0.4, True)

    assert torch.equal(drawn(draw, PARTS), whole(draw, 5))


def test_drop_path_of_the_parts_is_that_of_the_batch() -> None:
    """transformers draws a number per sample."""
    assert torch.equal(drawn(lambda n: torch.rand((n, 1, 1)), PARTS), whole(lambda n: torch.rand((n, 1, 1)), 5))


def test_without_training_nothing_is_dropped_and_other_numbers_are_drawn_as_ever() -> None:
    def quiet(samples: int) -> Tensor:
        return functional.dropout(torch.ones(samples, 4), 0.5, training=False)

    assert (drawn(quiet, PARTS) == 1).all()
    part = BatchPart.of(5, 1, 2)
    assert torch.equal(drawn(lambda _: torch.rand(7, 2), [part]), whole(lambda _: torch.rand(7, 2), 0))
