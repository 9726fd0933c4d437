"""Refuses NaN and infinity in a network's output, which would silently spoil everything computed from it."""

from __future__ import annotations

import torch

from pipeline.errors import WeightsError


def require_finite(numbers: torch.Tensor, network: str) -> None:
    """Refuse NaN and infinity in a network's output or weights. They are never the image's fault.

    The sum is checked first, in one pass without another array; it may overflow where every number is finite.

    Args:
        numbers: floating point, of any shape and on any device, which is synchronised.
        network: its description, for the message ("the student cache/my/student/final").

    Raises:
        WeightsError: at least one of them is NaN or infinite.
    """
    if torch.isfinite(numbers.sum()) or torch.isfinite(numbers).all():
        return
    raise WeightsError(f"{network} outputs NaN or infinity",
                       "all outputs of a network must be finite",
                       "Its weights are damaged, or its precision is too low: download or train them again, or "
                       "set its precision to float32")  # fmt: skip
