"""The average of the student's weights over its steps: with `distill.average`, it is the student that is saved (ours).

Single steps of a small batch pull the weights to and fro; their exponential moving average does not follow, at the cost
of one copy of the network. It never touches the training itself, whose weights are the same with and without it.
"""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def start_average(model: nn.Module, decay: float) -> AveragedModel:
    """An average that begins with the weights after the first step; `update_parameters` counts in those after another.

    Args:
        model: what is averaged, running statistics of batch norms too.
        decay: share of the average that stays in a step, above 0 and below 1.
    """
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
