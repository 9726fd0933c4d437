"""The quick way through the network gives what transformers' own modules give, and the same every time."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import SegformerForSemanticSegmentation

from pipeline.classes import DENSEPASS_13
from pipeline.segformer import can_be_reordered
from pipeline.student import network_pass
from pipeline.student.by_sample import in_threads, run_by_sample
from pipeline.student.config import StudentConfig
from pipeline.student.network_pass import pass_through
from tests.student.segformers import segformer


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def start() -> SegformerForSemanticSegmentation:
    """The demo's, of which no part is random, in training."""
    return segformer(StudentConfig(size="tiny", weights="demo"), DENSEPASS_13).train()


def pixels(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def of_transformers(model: SegformerForSemanticSegmentation, pixels_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    output = model(pixel_values=pixels_B3HW, output_hidden_states=True)
    return output.logits, tuple(output.hidden_states)


def learned(model: nn.Module, outputs: tuple[Tensor, tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """Gradients of all parameters, of a loss that all outputs have a part in."""
    logits, levels = outputs
    loss = sum(((k + 1) * x.float().square().mean() for k, x in enumerate(levels)), logits.float().square().mean())
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_outputs_gradients_and_statistics_are_transformers_but_for_rounding(
    start: SegformerForSemanticSegmentation, bfloat16: bool
) -> None:
    results: list[tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]] = []
    for way in (of_transformers, pass_through):
        model = copy.deepcopy(start)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = way(model, pixels())
        assert [tuple(x.shape[1:]) for x in outputs[1]] == [(16, 8, 16), (32, 4, 8), (64, 2, 4), (128, 1, 2)]
        results.append((outputs[0], learned(model, outputs), dict(model.named_buffers())))
    (logits, gradients, statistics), (own_logits, own_gradients, own_statistics) = results
    tolerance = 0.05 if bfloat16 else 1e-4
    assert (own_logits - logits).norm() < tolerance * logits.norm()
    assert own_gradients.keys() == gradients.keys() and len(gradients) > 100
    both = [torch.cat([of[name].flatten() for name in gradients]) for of in (gradients, own_gradients)]
    assert (both[1] - both[0]).norm() < tolerance * both[0].norm()
    for name, statistic in statistics.items():
        torch.testing.assert_close(own_statistics[name], statistic, rtol=tolerance, atol=tolerance)


def test_students_that_predict_are_transformers_but_for_rounding(start: SegformerForSemanticSegmentation) -> None:
    model = copy.deepcopy(start).eval()
    expected = of_transformers(model, pixels())[0]
    with torch.no_grad():
        for outputs in (pass_through(model, pixels()), pass_through(model, pixels()[:1])):
            torch.testing.assert_close(outputs[0], expected[: len(outputs[0])], rtol=1e-4, atol=1e-4)


def test_what_comes_out_does_not_depend_on_which_thread_is_first(start: SegformerForSemanticSegmentation) -> None:
    torch.set_num_threads(3)
    results: list[dict[str, Tensor]] = []
    for _ in range(4):
        model = copy.deepcopy(start)
        results.append(learned(model, pass_through(model, pixels())))
    for other in results[1:]:
        assert all(torch.equal(other[name], gradient) for name, gradient in results[0].items())


def test_an_encoder_that_draws_random_numbers_keeps_the_batch_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("random numbers of several threads come in any order")

    model = segformer(StudentConfig(size="tiny"), DENSEPASS_13).train()  # transformers' drop path
    monkeypatch.setattr(network_pass, "run_by_sample", refuse)
    outputs: list[Tensor] = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(pass_through(copy.deepcopy(model), pixels())[0])
    assert torch.equal(*outputs)
    model.config.drop_path_rate = 0.0
    with pytest.raises(AssertionError, match="any order"):
        pass_through(model, pixels())


def test_frozen_parameters_stay_without_gradients(start: SegformerForSemanticSegmentation) -> None:
    model = copy.deepcopy(start)
    model.segformer.stages[0].requires_grad_(False)
    names = learned(model, pass_through(model, pixels())).keys()
    assert names == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_head_of_another_kind_is_called_as_it_is(start: SegformerForSemanticSegmentation) -> None:
    class Other(type(start.decode_head)):  # pyright: ignore[reportUntypedBaseClass]
        pass

    model = copy.deepcopy(start)
    model.decode_head.__class__ = Other
    assert can_be_reordered(start) and not can_be_reordered(model)
    expected = of_transformers(copy.deepcopy(start), pixels())[0]
    assert torch.equal(pass_through(model, pixels())[0], expected)


def test_convolutions_of_one_image_keep_its_channels_last() -> None:
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    seen: list[bool] = []

    def run(tokens_1NC: Tensor) -> tuple[Tensor]:
        image = depthwise(tokens_1NC.transpose(1, 2).view(1, 8, 16, 32))
        seen.append(image.stride(1) == 1)
        return (image,)

    tokens_BNC = torch.randn(2, 512, 8)
    (images,) = run_by_sample(run, tokens_BNC, list(depthwise.parameters()))
    assert seen == [True, True]
    images.square().sum().backward()
    own = [p.grad for p in depthwise.parameters()]
    depthwise.zero_grad()
    depthwise(tokens_BNC.transpose(1, 2).view(2, 8, 16, 32)).square().sum().backward()
    for gradient, parameter in zip(own, depthwise.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("items", [1, 2, 5])
def test_work_is_done_in_order_and_its_errors_are_raised_once_all_has_ended(items: int) -> None:
    torch.set_num_threads(2)
    assert in_threads(lambda item: (item, torch.get_num_threads()), range(items)) == [
        (item, 2 if items == 1 else 1) for item in range(items)
    ]
    done: list[int] = []

    def fail_first(item: int) -> None:
        if item == 0:
            raise ValueError("the first")
        done.append(item)

    with pytest.raises(ValueError, match="the first"):
        in_threads(fail_first, range(items))
    assert len(done) == items - 1 or items == 1
    assert torch.get_num_threads() == 2
