"""Numbers that are none: what a network answers must be finite, or everything made of it is wrong without a word."""

from __future__ import annotations

import torch

from pipeline.errors import WeightsError


def require_finite(numbers: torch.Tensor, network: str) -> None:
    """Refuse NaN and infinity in what a network gives or consists of. They are never the picture's fault.

    The sum is looked at first: one pass without another array. It may overflow where every number is finite.

    Args:
        numbers: floating point, of any shape, on any device, which is waited for.
        network: what it is, for the message ("the student cache/my/student/final").

    Raises:
        WeightsError: at least one of them is NaN or infinite.
    """
    if torch.isfinite(numbers.sum()) or torch.isfinite(numbers).all():
        return
    raise WeightsError(f"{network} outputs NaN or infinity",
                       "all outputs of a network must be finite",
                       "Its weights are damaged, or the precision is too low for them: fetch or train them again, or "
                       "set its precision to float32")  # fmt: skip
