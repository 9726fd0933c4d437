"""A batch computed sample by sample gives what it gives as one, whichever thread is first; so do its gradients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pipeline.student.by_sample import in_threads, run_by_sample


@pytest.fixture(autouse=True, params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Two(nn.Module):
    """Two outputs of one convolution, and a layer that only the second has a part of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.unused = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1), nn.Linear(2, 2)

    def run(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.tanh(self.first(images_B3HW))
        return hidden, self.second(hidden), hidden.detach() * 2


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 8, 16, generator=torch.Generator().manual_seed(1))


def gradients(network: Two, outputs: tuple[Tensor, ...]) -> dict[str, Tensor | None]:
    loss = sum((number + 1) * output.float().square().mean() for number, output in enumerate(outputs[:2]))
    assert isinstance(loss, Tensor)
    loss.backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_outputs_and_gradients_are_those_of_the_batch(batch: int) -> None:
    whole, apart = Two(), Two()
    expected = whole.run(images(batch))
    found = run_by_sample(apart.run, images(batch), list(apart.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    theirs, ours = gradients(whole, expected), gradients(apart, found)
    assert ours["unused.weight"] is theirs["unused.weight"] is None
    for name, gradient in theirs.items():
        if gradient is not None:
            torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)


def test_an_output_that_learns_nothing_gets_no_gradient() -> None:
    network = Two()
    hidden, logits, constant = run_by_sample(network.run, images(2), list(network.parameters()))
    assert hidden.requires_grad and logits.requires_grad and not constant.requires_grad


def test_a_loss_of_one_output_alone_reaches_what_it_is_made_of() -> None:
    network = Two()
    hidden, _, _ = run_by_sample(network.run, images(3), list(network.parameters()))
    hidden.sum().backward()
    assert network.first.weight.grad is not None and network.second.weight.grad is None


def test_frozen_parameters_stay_as_they_are() -> None:
    network = Two()
    network.first.requires_grad_(False)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    _, logits, _ = run_by_sample(network.run, images(2), learning)
    logits.sum().backward()
    assert network.first.weight.grad is None and network.second.weight.grad is not None


def test_sums_round_alike_every_time() -> None:
    found: list[Tensor] = []
    for _ in range(5):
        network = Two()
        of_run = gradients(network, run_by_sample(network.run, images(5), list(network.parameters())))
        gradient = of_run["first.weight"]
        assert gradient is not None
        found.append(gradient)
    assert all(torch.equal(other, found[0]) for other in found[1:])


def test_mixed_precision_is_that_of_the_caller_in_every_thread() -> None:
    network = Two()
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _, _ = run_by_sample(network.run, images(3), list(network.parameters()))
        expected = network.run(images(3))[0]
    assert hidden.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(hidden, expected, rtol=0.02, atol=0.02)


def test_every_item_is_worked_on_once_and_in_order(threads: int) -> None:
    assert in_threads(lambda item: item * item, range(20)) == [item * item for item in range(20)]
    assert in_threads(lambda item: item, []) == []
    assert torch.get_num_threads() == threads


def test_an_error_in_any_item_is_raised() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise ValueError(f"item {item}")
        return item

    with pytest.raises(ValueError, match="item 3"):
        in_threads(fail, range(6))
