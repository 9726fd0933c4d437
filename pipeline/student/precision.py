"""Mixed precision: the network's matrix products in bfloat16, its parameters and losses in float32."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextmanager
def mixed_precision(device_type: str, enabled: bool) -> Generator[None]:
    """Autocast to bfloat16 where `enabled`; attention stays float32 on a CPU."""
    with torch.autocast(device_type, torch.bfloat16, enabled=enabled):
        if enabled and device_type == "cpu":
            with _Float32Attention():
                yield
        else:
            yield


class _Float32Attention(TorchFunctionMode):
    """torch's fused attention on a CPU is several times slower backwards in bfloat16 than in float32 (torch 2.15)."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(*map(_float32, args), **{name: _float32(value) for name, value in (kwargs or {}).items()})


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
