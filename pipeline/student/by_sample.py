"""On a CPU, each sample of a batch in a thread of its own.

The student's layers are many and small: threads that share one layer wait for each other at its end, and again at the
next, for longer where other programs are at work. Threads that take a sample each through all layers, forwards and
backwards, meet twice per step. What comes out does not depend on which is first.

Legend: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline.student.precision import mixed_precision

S = TypeVar("S")
T = TypeVar("T")
Run = Callable[[Tensor], Sequence[Tensor]]


def run_by_sample(run: Run, inputs_B: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, ...]:
    """What `run` makes of a batch on a CPU, computed sample by sample; gradients reach the parameters.

    Args:
        run: takes a batch [1, ...] to tensors [1, ...]; must treat samples alike and apart (no batch norm), draw no
            random numbers, and be of `parameters` alone.
        inputs_B: the batch, which gets no gradient.
        parameters: all that `run` learns.
    """
    bfloat16 = torch.is_autocast_enabled(inputs_B.device.type)
    return _BySample.apply(run, bfloat16, inputs_B, *parameters)  # pyright: ignore[reportReturnType]


class _BySample(torch.autograd.Function):
    """The graphs of all samples, as one operation of the batch."""

    @staticmethod
    def forward(ctx: Any, run: Run, bfloat16: bool, inputs_B: Tensor, *parameters: nn.Parameter) -> tuple[Tensor, ...]:
        def of_sample(input_1: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad(), mixed_precision("cpu", bfloat16), _ChannelsLast():  # all are a thread's own
                return tuple(run(input_1))

        outputs = in_threads(of_sample, inputs_B.split(1))
        ctx.set_materialize_grads(False)
        ctx.outputs, ctx.parameters = outputs, parameters
        batches = tuple(torch.cat([output.detach() for output in of_all]) for of_all in zip(*outputs, strict=True))
        both = zip(outputs[0], batches, strict=True)
        ctx.mark_non_differentiable(*(batch for output, batch in both if not output.requires_grad))
        return batches

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its parameters' names
        ctx: Any, *gradients_B: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        def of_sample(index: int) -> tuple[Tensor | None, ...]:
            both = [
                (output, gradient_B[index : index + 1])
                for output, gradient_B in zip(ctx.outputs[index], gradients_B, strict=True)
                if gradient_B is not None and output.requires_grad
            ]
            outputs, gradients = zip(*both, strict=True)
            return torch.autograd.grad(outputs, ctx.parameters, gradients, allow_unused=True)

        of_samples = in_threads(of_sample, range(len(ctx.outputs)))
        ctx.outputs = None
        return (None, None, None, *(_sum(gradients) for gradients in zip(*of_samples, strict=True)))


class _ChannelsLast(TorchFunctionMode):
    """Convolutions of one image work on it as it lies in memory.

    SegFormer's tokens are images with their channels last. Where a batch is one image, the view that transformers takes
    of them has a first stride by which torch (2.15) does not see that, and it works on copies with the channels first:
    the depthwise convolutions, forwards and backwards, then take two to three times as long.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.conv2d and args[0].shape[0] == args[0].stride(1) == 1:
            image_HWC = args[0].permute(0, 2, 3, 1).squeeze(0)
            image_1CHW = image_HWC.unsqueeze(0).permute(0, 3, 1, 2)
            args = (image_1CHW, *args[1:])
        return func(*args, **(kwargs or {}))


def _sum(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """In the samples' order, so that it always rounds alike."""
    known = [gradient for gradient in gradients if gradient is not None]
    return sum(known[1:], known[0]) if known else None


def in_threads(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """`work` of every item, in order, on torch's threads: each takes items, and shares what is left over.

    Raises:
        Exception: what `work` raises, once all that have begun have ended.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers <= 1:
        return [work(item) for item in items]

    def with_its_share(item: S) -> T:
        torch.set_num_threads(threads // workers)
        return work(item)

    futures = [_pool(workers).submit(with_its_share, item) for item in items]
    try:
        return [future.result() for future in futures]
    finally:
        wait(futures)
        torch.set_num_threads(threads)  # of this thread it has not changed, but of those that are yet to begin


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="sample")
