"""Losses that adapt the assistant without labels, each a scalar: L_CC + CE(S, E) + CE(S, E_H) (paper figure 2).

Paper: L_CC asks S_i and S_j to agree on the overlap O_i; its form is not given. We: the symmetric Kullback-Leibler
divergence with stopped gradients, so that each is pulled towards the other as it is, and no two drift together.

All are computed in the classes of the run, into which the network's own classes merge after the softmax.

Legend: C classes of the run, S classes of the network, N pixels of all images of a batch, O pixels of all overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.adapt.config import AdaptConfig
from pipeline.class_tables import merge_table
from pipeline.classes import IGNORE, LabelSet
from pipeline.student.losses import divergence, weighted_mean

_NEVER = -1e4
"""Logit of a class that no class of the network merges into."""


@dataclass(frozen=True)
class AdaptTargets:
    """What the assistant learns from at the pixels of a batch."""

    ensemble_CN: Tensor
    """E, probabilities."""
    reliable_N: Tensor
    """1 where E is reliable (M), else 0."""
    valid_N: Tensor
    """1 where the pixel counts, 0 where it is ignored."""


def merged_logits(logits_SN: Tensor, source: LabelSet, target: LabelSet) -> Tensor:
    """Logits [C, N] whose softmax is that of the network's logits, merged into the classes of the run.

    Raises:
        RecipeError: the sets have no known merge.
    """
    table = torch.from_numpy(merge_table(source, target)[: len(source)]).to(logits_SN.device)
    if source.names == target.names:
        return logits_SN
    rows: list[Tensor] = []
    for class_id in range(len(target)):
        own_SN = logits_SN[(table == class_id) & (table != IGNORE)]
        rows.append(own_SN.logsumexp(dim=0) if len(own_SN) else torch.full_like(logits_SN[0], _NEVER))
    return torch.stack(rows)


def adapt_losses(
    logits_CN: Tensor, targets: AdaptTargets, overlaps_2O: tuple[Tensor, Tensor] | None, config: AdaptConfig
) -> dict[str, Tensor]:
    """All losses that have a weight, unweighted, by name.

    Args:
        logits_CN: of all pixels, float32.
        targets: at these.
        overlaps_2O: positions among the N pixels of those that two images see: in the one and in the other; None where
            no images overlap, as in a batch of whole panoramas.
        config: weights (zero: not computed), soft or hard targets.
    """
    losses: dict[str, Tensor] = {}
    if config.consistency and overlaps_2O is not None:
        first_O, second_O = overlaps_2O
        valid_O = targets.valid_N[first_O]
        losses["consistency"] = consistency_loss(logits_CN[:, first_O], logits_CN[:, second_O], valid_O)
    # As stage two's losses have them: one "image" of a single row, without a target where a pixel is ignored.
    ensemble_CN = targets.ensemble_CN * targets.valid_N
    divergence_N = divergence(logits_CN[None, :, None], ensemble_CN[None, :, None], config.against_ensemble)[0, 0]
    if config.ensemble:
        losses["ensemble"] = weighted_mean(divergence_N, targets.valid_N, targets.valid_N)
    if config.reliable:
        losses["reliable"] = weighted_mean(divergence_N, targets.valid_N * targets.reliable_N, targets.valid_N)
    return losses


def total(losses: dict[str, Tensor], config: AdaptConfig) -> Tensor:
    """Weighted sum of `adapt_losses`."""
    return torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()


def consistency_loss(first_CO: Tensor, second_CO: Tensor, valid_O: Tensor) -> Tensor:
    """L_CC: mean over the overlap of KL(p || q) + KL(q || p), nats, where the first of each has no gradient.

    Args:
        first_CO: logits of one image.
        second_CO: those of the other at the same pixels.
        valid_O: 1 where the pixel counts, else 0.
    """
    first, second = first_CO.log_softmax(dim=0), second_CO.log_softmax(dim=0)
    divergence_O = _divergence(first.detach(), second) + _divergence(second.detach(), first)
    return weighted_mean(divergence_O, valid_O, valid_O)


def _divergence(log_p_CO: Tensor, log_q_CO: Tensor) -> Tensor:
    return (log_p_CO.exp() * (log_p_CO - log_q_CO)).sum(dim=0)
