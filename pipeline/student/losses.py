"""Multi-level Knowledge Adaptation (MKA): one function per loss of the paper's figure 2, each a scalar, all float32.

    L_CE^{TA,S}  assistant_loss   P_S against S_TA^w, whole image             paper
    L_CE^{T,S}   ensemble_loss    P_i against E_i, window                     paper
    L_CE^{T,S}   reliable_loss    P_i against E_H^i, window                   paper
    L_bd^{T,S}   boundary_loss    soft boundary of P_S against B_ref          paper; form ours
    L_feat       feature_loss     projected student levels against the TA's   abstract; forms: cosine (ours), MSE, CWD
    -            corrections_loss P_S against people's corrections, if any    ours

The paper crops P_S into the windows and sums their terms. We blend the windows' E_i on the panorama first (in stage
one), and take one mean over the panorama here, because on a wrapping row of windows every pixel lies in the same
number of windows: the sum over windows is the mean over pixels times a constant. (Grids of several rows see their
outer rows less often; there we differ.) Both window terms are divided by the number of valid pixels, also the reliable
one, so that with unit weights they are one cross-entropy with the pixel weight (1 + M).

Legend: B batch, C classes, D feature channels, H W losses' resolution, h w student's own (a quarter of the panorama).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.classes import IGNORE
from pipeline.student.config import LossConfig
from pipeline.student.model import StudentOutput, resize_logits
from pipeline.student.processes import batch_sum
from pipeline.student.targets import MkaTargets

_TINY = torch.finfo(torch.float32).tiny
"""Divisor in place of 0, where there is no target."""
_MIN_SHARE = 1e-4
"""Smallest share of the batch that a class's weight is computed from."""


class FeatureProjections(nn.Module):
    """One 1x1 convolution per level, from the student's channels to the assistant's."""

    def __init__(self, student_channels: Sequence[int], assistant_channels: Mapping[int, int]) -> None:
        """`student_channels` of levels 1..4; `assistant_channels` by level number, may be empty."""
        super().__init__()
        self.layers = nn.ModuleDict(
            {str(level): nn.Conv2d(student_channels[level - 1], d, 1) for level, d in assistant_channels.items()}
        )

    def forward(self, levels: Sequence[Tensor]) -> dict[int, Tensor]:
        """Encoder levels 1..4 -> projected maps by level number."""
        return {int(level): layer(levels[int(level) - 1]) for level, layer in self.layers.items()}


def mka_losses(
    output: StudentOutput, targets: MkaTargets, projections: FeatureProjections, config: LossConfig, wrap: bool
) -> dict[str, Tensor]:
    """All losses that have a weight, unweighted, by name.

    Args:
        output: the student's logits and encoder levels.
        targets: from `make_targets`, of samples that were pooled by `config.stride`.
        projections: for the features' loss.
        config: weights (zero: not computed), temperature, hard or soft targets.
        wrap: the first and last column are neighbours (a whole panorama, no crop).

    Raises:
        ValueError: the student has other classes than the targets; or, with a feature loss, there are no features, or
            no projection for one.
    """
    _require_fit(output, targets, projections, config)
    losses: dict[str, Tensor] = {}
    with torch.autocast(output.logits_BChw.device.type, enabled=False):
        logits_BChw = output.logits_BChw.float()
        losses |= _label_losses(logits_BChw, targets, config, wrap)
        if config.boundary:
            quarter_BChw = resize_logits(logits_BChw, *targets.boundary_Bhw.shape[1:], wrap=wrap)
            losses["boundary"] = boundary_loss(
                quarter_BChw.softmax(dim=1), targets.boundary_Bhw, targets.boundary_valid_Bhw, wrap
            )
        if config.features:
            projected = projections([level.float() for level in output.levels])
            losses["features"] = feature_loss(projected, targets, config)
    return losses


def total(losses: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """Weighted sum of `mka_losses`."""
    return torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()


def _require_fit(
    output: StudentOutput, targets: MkaTargets, projections: FeatureProjections, config: LossConfig
) -> None:
    """Refuse outputs and targets that do not fit together.

    Raises:
        ValueError: as `mka_losses`.
    """
    found, expected = output.logits_BChw.shape[1], targets.assistant_BChw.shape[1]
    if found != expected:
        raise ValueError(f"the student has {found} classes, its targets have {expected}")
    if not config.features:
        return
    levels = {int(level) for level in projections.layers if int(level) <= len(output.levels)}
    if not targets.features or not targets.features.keys() <= levels:
        raise ValueError(
            f"the targets have features of the levels {sorted(targets.features)}, student and projections of "
            f"{sorted(levels)}; there must be one and all must be projected, or the features' weight be 0"
        )


def _label_losses(logits_BChw: Tensor, targets: MkaTargets, config: LossConfig, wrap: bool) -> dict[str, Tensor]:
    losses: dict[str, Tensor] = {}
    corrected_BHW = targets.corrected_Bhw if config.corrections else None
    if not (config.assistant or config.ensemble or config.reliable) and corrected_BHW is None:
        return losses
    logits_BCHW = resize_logits(logits_BChw, *targets.valid_Bhw.shape[1:], wrap=wrap)
    weights_BHW = edge_weights(targets, config.edge_share, wrap) if config.edge_share else None

    def weighed_divergence(targets_BCHW: Tensor) -> Tensor:
        divergence_BHW = divergence(logits_BCHW, targets_BCHW, config)
        return divergence_BHW if weights_BHW is None else divergence_BHW * weights_BHW

    if config.assistant:
        losses["assistant"] = assistant_loss(weighed_divergence(targets.assistant_BChw), targets)
    if config.ensemble or config.reliable:
        divergence_BHW = weighed_divergence(targets.ensemble_BChw)
        if config.ensemble:
            losses["ensemble"] = ensemble_loss(divergence_BHW, targets)
        if config.reliable:
            losses["reliable"] = reliable_loss(divergence_BHW, targets)
    if corrected_BHW is not None:
        losses["corrections"] = corrections_loss(logits_BCHW, corrected_BHW, targets.valid_Bhw)
    return losses


def assistant_loss(divergence_BHW: Tensor, targets: MkaTargets) -> Tensor:
    """L_CE^{TA,S}: `divergence_BHW` of the stitched assistant, over the whole panorama."""
    return weighted_mean(divergence_BHW, targets.valid_Bhw, targets.valid_Bhw)


def ensemble_loss(divergence_BHW: Tensor, targets: MkaTargets) -> Tensor:
    """L_CE^{T,S} against E: `divergence_BHW` of the ensemble, everywhere."""
    return weighted_mean(divergence_BHW, targets.valid_Bhw, targets.valid_Bhw)


def reliable_loss(divergence_BHW: Tensor, targets: MkaTargets) -> Tensor:
    """L_CE^{T,S} against E_H: the same where M = 1 only, so that reliable pixels count twice."""
    return weighted_mean(divergence_BHW, targets.reliable_Bhw, targets.valid_Bhw)


def corrections_loss(logits_BCHW: Tensor, corrected_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Cross-entropy with people's corrections, where there are any; divided by the valid pixels like the window terms,
    so that a corrected pixel weighs the same wherever it lies and however few there are (ours)."""
    entropy_BHW = functional.cross_entropy(logits_BCHW, corrected_BHW, ignore_index=IGNORE, reduction="none")
    return weighted_mean(entropy_BHW, torch.ones_like(entropy_BHW), valid_BHW)


def divergence(logits_BCHW: Tensor, targets_BCHW: Tensor, config: LossConfig) -> Tensor:
    """Divergence of the student's prediction from its target per pixel [B, H, W], nats, at least 0; rare classes weigh
    more with `config.class_balance`.

    Soft (ours, because the teachers' uncertainty is knowledge too): T^2 KL(q_T || p_T), where q_T and p_T are targets
    and predictions at temperature T. Hard (as the paper's figure draws it): cross-entropy with the target's argmax,
    without temperature.
    """
    if config.hard:
        divergence_BHW = functional.cross_entropy(logits_BCHW, targets_BCHW.argmax(dim=1), reduction="none")
    else:
        log_p_BCHW = (logits_BCHW / config.temperature).log_softmax(dim=1)
        q_BCHW = _soften(targets_BCHW, config.temperature)
        divergence_BHW = config.temperature**2 * (torch.xlogy(q_BCHW, q_BCHW) - q_BCHW * log_p_BCHW).sum(dim=1)
    if config.class_balance:
        divergence_BHW = divergence_BHW * rarity(targets_BCHW, config.class_balance)
    return divergence_BHW


def rarity(targets_BCHW: Tensor, exponent: float) -> Tensor:
    """Weight of each pixel [B, H, W] by how rare its classes are in the batch; 1 in the mean over pixels with a target.

    Paper: all pixels alike. We: a class weighs its share of the targets to the power of -`exponent`, because IoU is a
    mean over classes, of which some cover a thousandth of a panorama. A weight per pixel, not per class inside the
    divergence, so that its minimum stays at prediction = target.
    """
    mass_C = batch_sum(targets_BCHW.sum(dim=(0, 2, 3)))
    share_C = mass_C / mass_C.sum().clamp_min(1.0)  # without any pixel: zeros
    weight_C = share_C.clamp_min(_MIN_SHARE).pow(-exponent)
    return torch.einsum("bchw,c->bhw", targets_BCHW, weight_C / (share_C * weight_C).sum().clamp_min(_MIN_SHARE))


def edge_weights(targets: MkaTargets, share: float, wrap: bool) -> Tensor:
    """Weight of each pixel [B, H, W] with which edges have `share` of a mean over the valid pixels; 1 in the mean.

    Paper: all pixels alike. We, after BPKD: most pixels lie in a body that the student knows after a few steps, and
    edges are what is left to learn. Edges are the cells of B_ref and their neighbours. Where a batch has none, or
    nothing else, all pixels count alike.
    """
    edges_B1hw = _dilate(targets.boundary_Bhw.unsqueeze(1), wrap)
    height, width = targets.valid_Bhw.shape[1:]
    edge_BHW = functional.interpolate(edges_B1hw, size=(height, width), mode="nearest").squeeze(1)
    valid_BHW = targets.valid_Bhw
    total, edges = batch_sum(torch.stack((valid_BHW.sum(), (valid_BHW * edge_BHW).sum()))).unbind()
    apart = (edges > 0) & (edges < total)
    of_edges = torch.where(apart, share * total / edges.clamp_min(1e-6), torch.ones_like(total))
    of_bodies = torch.where(apart, (1 - share) * total / (total - edges).clamp_min(1e-6), torch.ones_like(total))
    return edge_BHW * of_edges + (1 - edge_BHW) * of_bodies


def weighted_mean(x_BHW: Tensor, weight_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Sum of weight * x over the weight of the valid pixels; 0 where there are none."""
    weighted, valid = batch_sum(torch.stack(((x_BHW * weight_BHW).sum(), valid_BHW.sum()))).unbind()
    return weighted / valid.clamp_min(1.0)


def _soften(probabilities_BCHW: Tensor, temperature: float) -> Tensor:
    if temperature == 1:
        return probabilities_BCHW
    # Divided by the highest first: at low temperatures all powers would vanish.
    powers = (probabilities_BCHW / probabilities_BCHW.amax(dim=1, keepdim=True).clamp_min(_TINY)).pow(1 / temperature)
    return powers / powers.sum(dim=1, keepdim=True).clamp_min(_TINY)


def boundary_loss(probabilities_BChw: Tensor, boundary_Bhw: Tensor, valid_Bhw: Tensor, wrap: bool) -> Tensor:
    """L_bd^{T,S}: 1 - F1 of the student's soft boundary against B_ref, both within one cell of tolerance.

    Paper: the loss is drawn between B_S and B_ref, its form is not given. We: the soft boundary F1, because few
    pixels are boundary (a mean over pixels would be lowest for predicting none) and because a student at a quarter of
    the resolution cannot be exact to the pixel. Computed at that resolution, whatever `losses.stride` is.
    Cells next to ignored ones are left out: their boundary depends on ignored predictions.
    """
    known_B1hw = 1 - _dilate((valid_Bhw == 0).float().unsqueeze(1), wrap)
    found = soft_boundary(probabilities_BChw, wrap).unsqueeze(1) * known_B1hw
    wanted = boundary_Bhw.unsqueeze(1) * known_B1hw
    correct = (found * _dilate(wanted, wrap)).sum()  # precision's numerator
    recalled = (wanted * _dilate(found, wrap)).sum()  # recall's
    matched, both = batch_sum(torch.stack((correct + recalled, found.sum() + wanted.sum()))).unbind()
    one_cell = 1.0  # smoothing: defines the loss of panoramas without any boundary
    return 1 - (matched + one_cell) / (both + one_cell)


def soft_boundary(probabilities_BChw: Tensor, wrap: bool) -> Tensor:
    """Soft boundary [B, h, w] in [0, 1]: the largest range of a class's probability over a cell and its 8 neighbours.

    It is 1 on both sides of an edge between two certain labels, and 0 where predictions are constant, certain or not.
    """
    highest = _dilate(probabilities_BChw, wrap)
    lowest = -_dilate(-probabilities_BChw, wrap)
    return (highest - lowest).amax(dim=1)


def _dilate(x_BChw: Tensor, wrap: bool) -> Tensor:
    """Maximum of each cell and its 8 neighbours; columns wrap, or end like the rows."""
    if wrap:
        x_BChw = torch.cat((x_BChw[..., -1:], x_BChw, x_BChw[..., :1]), dim=-1)
    return functional.max_pool2d(x_BChw, 3, stride=1, padding=(1, 0) if wrap else 1)


def feature_loss(projected: Mapping[int, Tensor], targets: MkaTargets, config: LossConfig) -> Tensor:
    """L_feat: mean over levels of how the projected student differs from the assistant, at least 0.

    Paper: "multi-level feature knowledge" by the abstract, no form. We: 1 - cosine per cell, in [0, 2], because the
    scale of another network's features is arbitrary; two other forms are in `config.feature_form`. Ignored cells and
    samples whose features do not belong to their image have no weight.
    """
    losses = [
        _level_loss(projected[level], assistant_BDhw, targets, config)
        for level, assistant_BDhw in targets.features.items()
    ]
    return torch.stack(losses).mean()


def _level_loss(student_BDhw: Tensor, assistant_BDhw: Tensor, targets: MkaTargets, config: LossConfig) -> Tensor:
    size = (student_BDhw.shape[-2], student_BDhw.shape[-1])
    aligned_BDhw = _resize_map(assistant_BDhw.float(), size)
    valid_Bhw = _valid_of_cells(targets.boundary_valid_Bhw, size)
    weight_Bhw = valid_Bhw * targets.features_known_B.view(-1, 1, 1)
    if config.feature_form == "channels":
        return channel_divergence(student_BDhw, aligned_BDhw, weight_Bhw, config.feature_temperature)
    if config.feature_form == "mse":
        squares_Bhw = aligned_BDhw.square().mean(dim=1)
        differing_Bhw = (student_BDhw - aligned_BDhw).square().mean(dim=1)
        return weighted_mean(differing_Bhw, weight_Bhw, weight_Bhw) / _mean_or_1(squares_Bhw, weight_Bhw)
    return weighted_mean(1 - functional.cosine_similarity(student_BDhw, aligned_BDhw, dim=1), weight_Bhw, weight_Bhw)


def _valid_of_cells(valid_Bhw: Tensor, size: tuple[int, int]) -> Tensor:
    """The share of each cell of a level [B, *size] that is valid; cells are square, and the last row's may reach beyond
    the panorama, where nothing is."""
    rows = round(size[0] * valid_Bhw.shape[2] / size[1])
    padded_B1hw = functional.pad(valid_Bhw.unsqueeze(1), (0, 0, 0, max(rows - valid_Bhw.shape[1], 0)))
    return functional.adaptive_avg_pool2d(padded_B1hw, size).squeeze(1)


def _mean_or_1(x_Bhw: Tensor, weight_Bhw: Tensor) -> Tensor:
    """Weighted mean; 1 where nothing has a weight."""
    return torch.where(batch_sum(weight_Bhw.sum()) > 0, weighted_mean(x_Bhw, weight_Bhw, weight_Bhw), 1.0)


def channel_divergence(student_BDhw: Tensor, assistant_BDhw: Tensor, weight_Bhw: Tensor, temperature: float) -> Tensor:
    """T^2 KL of where each channel is strong, mean over channels and samples (CWD: channel-wise distillation).

    A channel's softmax over the panorama, at temperature T, is a distribution over cells; those of assistant and
    student are compared. Cells count by their weight in either; samples without any do not count.
    """
    log_weight_B1n = _log_weight(weight_Bhw).flatten(1).unsqueeze(1)
    log_p_BDn = (student_BDhw.flatten(2) / temperature + log_weight_B1n).log_softmax(dim=2)
    log_q_BDn = (assistant_BDhw.flatten(2) / temperature + log_weight_B1n).log_softmax(dim=2)
    divergence_BD = (log_q_BDn.exp() * (log_q_BDn - log_p_BDn)).sum(dim=2)
    known_B = (weight_Bhw.flatten(1).sum(dim=1) > 0).float()
    return temperature**2 * weighted_mean(divergence_BD.mean(dim=1), known_B, known_B)


def _log_weight(weight_Bhw: Tensor) -> Tensor:
    """Logarithm of weights; so low a number for 0 that its exponential is 0, yet differences stay finite."""
    return torch.where(weight_Bhw > 0, weight_Bhw.clamp_min(1e-6).log(), -1e4)


def _resize_map(x_BDhw: Tensor, size: tuple[int, int]) -> Tensor:
    """Area mean where the map gets smaller, bilinear where it gets larger."""
    if x_BDhw.shape[2:] == size:
        return x_BDhw
    if x_BDhw.shape[-2] >= size[0] and x_BDhw.shape[-1] >= size[1]:
        return functional.adaptive_avg_pool2d(x_BDhw, size)
    return functional.interpolate(x_BDhw, size=size, mode="bilinear")
