"""One batch over several processes: what losses and norms sum over the batch, they sum over all of its parts.

Each process takes some samples of the batch (`BatchPart`). Sums of means and of batch norms go over all processes, so
that losses are those of the whole batch in each of them, and gradients, averaged after the step's backward pass, those
that one process would have, but for rounding. Random numbers are drawn for the whole batch, of which a process takes
its part. In a single process nothing is different.

Legend: B batch, P samples of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pipeline.errors import RecipeError


@dataclass(frozen=True)
class BatchPart:
    """Which samples of every batch a process takes."""

    start: int
    """The first."""
    stop: int
    """The one after the last."""
    size: int
    """Samples of the batch, B."""

    @classmethod
    def of(cls, size: int, rank: int = 0, processes: int = 1) -> BatchPart:
        """The part of one of several processes; parts differ by one sample at most."""
        return cls(size * rank // processes, size * (rank + 1) // processes, size)

    @property
    def is_whole(self) -> bool:
        """Whether one process takes all."""
        return self.stop - self.start == self.size


def are_several() -> bool:
    """Whether several processes train one student."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def batch_sum(of_part: Tensor) -> Tensor:
    """The sum over all processes of what each has summed over its part of the batch."""
    return _SumOverProcesses.apply(of_part) if are_several() else of_part  # pyright: ignore[reportReturnType]


class _SumOverProcesses(torch.autograd.Function):
    """Gradients are summed likewise: every process computes the same loss, so that they come out once for each of them,
    which `average_gradients` divides out."""

    @staticmethod
    def forward(ctx: Any, of_part: Tensor) -> Tensor:
        return _summed(of_part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Make every process's gradients their mean, which is the gradient of the whole batch's loss; in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients or not are_several():
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class BatchNormOverProcesses(nn.BatchNorm2d):
    """A batch norm whose statistics in training are those of the whole batch (torch's own works on GPUs alone)."""

    def forward(self, x_PDhw: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - a name
        """Normalise [P, D, h, w]."""
        if not self.training or not are_several():
            return super().forward(x_PDhw)
        values_PDhw = x_PDhw.float()
        size = torch.tensor(float(x_PDhw.numel() / x_PDhw.shape[1]), device=x_PDhw.device)
        sums = batch_sum(torch.cat((values_PDhw.sum(dim=(0, 2, 3)), size[None])))
        count = sums[-1].detach()
        mean_D = sums[:-1] / count
        centred_PDhw = values_PDhw - mean_D.view(1, -1, 1, 1)
        variance_D = batch_sum(centred_PDhw.square().sum(dim=(0, 2, 3))) / count
        self._follow(mean_D.detach(), variance_D.detach() * count / (count - 1))
        normalised_PDhw = centred_PDhw * (variance_D + self.eps).rsqrt().view(1, -1, 1, 1)
        if self.affine:
            normalised_PDhw = normalised_PDhw * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised_PDhw.to(x_PDhw.dtype)

    @torch.no_grad()
    def _follow(self, mean_D: Tensor, variance_D: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_D, share)
        self.running_var.lerp_(variance_D, share)


def share_norms(network: nn.Module) -> None:
    """Let all batch norms of a network see the whole batch; their parameters and names stay.

    Raises:
        RecipeError: some are of a kind of their own, such as timm's that end in an activation.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = BatchNormOverProcesses
        elif isinstance(module, nn.BatchNorm2d) and type(module) is not BatchNormOverProcesses:
            raise RecipeError(f"the student has batch norms of the kind {type(module).__name__}",
                              "processes that train together share the statistics of torch's BatchNorm2d alone",
                              "Train it in one process, or take another network as the student")  # fmt: skip


_DROPOUTS = (functional.dropout, functional.dropout2d)


class WholeBatchRandomness(TorchFunctionMode):
    """Dropout and drop path of a part of a batch as one process would draw them for the whole batch.

    Knows `functional.dropout`, `dropout2d` and `torch.rand`, which SegFormers and most networks of transformers draw
    with, where the first axis of what they draw is the sample, or for dropout several rows of each (MobileViT's pixels
    of a patch).
    """

    def __init__(self, part: BatchPart) -> None:
        """`part` is the process's own."""
        super().__init__()
        self._part = part

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        samples = self._part.stop - self._part.start
        if func in _DROPOUTS and options.get("training", True) and args[0].shape[0] % samples == 0:
            rows = args[0].shape[0] // samples
            return args[0] * self._own(func(self._ones(args[0], rows), options.get("p", 0.5)), rows)
        if func is torch.rand and args and isinstance(args[0], Sequence) and args[0][:1] and args[0][0] == samples:
            return self._own(func((self._part.size, *args[0][1:]), *args[1:], **options))
        return func(*args, **options)

    def _own(self, of_batch: Tensor, rows: int = 1) -> Tensor:
        return of_batch[self._part.start * rows : self._part.stop * rows]

    def _ones(self, of_part: Tensor, rows: int) -> Tensor:
        """Ones for the whole batch, `rows` per sample, that lie in memory as it would: random numbers are drawn in that
        order."""
        strides = (of_part[0].numel(), *of_part.stride()[1:])
        ones = torch.empty_strided((self._part.size * rows, *of_part.shape[1:]), strides, dtype=of_part.dtype,
                                   device=of_part.device)  # fmt: skip
        return ones.fill_(1)
