"""Composition: from labelled regions and the assistant's probabilities to E, soft E and M (paper figure 2, Eq. 3).

The second half of cross-task complementary fusion (CTCF); the first, the vote, is `teacher.vote`. This half needs
neither SAM nor the assistant: regions and probabilities can be composed again at any time.

Legend: C classes, H W panorama, h w view, f g footprint of a view (rows, columns), M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import NO_MASK, Regions, no_regions
from pipeline.panorama.views import Stitcher, View
from pipeline.panorama.windows import Window, add_to, cut


@dataclass(frozen=True, eq=False)
class Fusion:
    """The fusion of one panorama, or of a part of it."""

    labels_HW: LabelArray
    """E: the label with the most weight among the views' E_i, the lowest on ties; IGNORE where ignored. E_i is each
    mask's winner (with "keep", each reliable mask's; with `paint_from`, of the others those with such a share), the
    assistant's argmax elsewhere."""
    ensemble_CHW: FloatArray
    """Soft E: the views' soft E_i, blended; probabilities. Soft E_i is Lcr * onehot(winner) + (1 - Lcr) * assistant in
    those masks, the assistant's probabilities elsewhere. Its argmax can differ from E: a winner with less than half of
    its mask yields to the assistant where that is certain."""
    reliable_HW: BoolArray
    """M: the blended majority of the views' M_i."""


def compose(
    assistant_CHW: FloatArray,
    agreement_HW: FloatArray,
    ignored_HW: BoolArray,
    views: Sequence[View],
    regions: Sequence[Regions],
    label_set: LabelSet,
    config: FusionConfig,
) -> Fusion:
    """Compose every view and blend the results with the views' weights; what no view sees is the assistant's alone.

    Args:
        assistant_CHW: S_TA^w, probabilities in the classes of `label_set`.
        agreement_HW: A in [0, 1].
        ignored_HW: pixels without vote or label.
        views: of the panorama.
        regions: those of every view, in the views' order.
        label_set: the classes.
        config: theta, treatment of unreliable masks, and thresholds for pixels without a mask.

    Raises:
        ValueError: classes, sizes or numbers of views differ, or `ignored_HW` is not of bool.
    """
    require_alike(assistant_CHW, agreement_HW, ignored_HW, label_set)
    height, width = ignored_HW.shape
    ensemble = Stitcher(height, width, len(label_set), views, gaps=True)
    reliable = Stitcher(height, width, 1, views, gaps=True)
    counted = Stitcher(height, width, 1, views, gaps=True)
    weighted_labels: list[tuple[Window, LabelArray, FloatArray]] = []
    thresholds = mask_thresholds(regions, config)
    for view, view_regions, thresholds_M in zip(views, regions, thresholds, strict=True):
        footprint = view.footprint
        owners_fg = view.project_nearest(view_regions.owners_hw, outside=NO_MASK)
        composed = compose_view(
            cut(assistant_CHW, footprint, axis=1),
            cut(agreement_HW, footprint),
            cut(ignored_HW, footprint),
            Regions(owners_fg, view_regions.votes),
            config,
            thresholds_M,
        )
        counts_fg = np.ones((footprint.height, footprint.width), np.float32)
        if view_regions.votes.weights_M is not None:
            confidence_fg = cut(assistant_CHW, footprint, axis=1).max(axis=0)
            counts_fg = _mask_weights(owners_fg, view_regions.votes.weights_M, confidence_fg)
            np.multiply(composed.ensemble_CHW, counts_fg, out=composed.ensemble_CHW)
        weighted_labels.append((footprint, composed.labels_HW, ensemble.weights(view) * counts_fg))
        ensemble.add(view, composed.ensemble_CHW)
        reliable.add(view, (composed.reliable_HW * counts_fg)[None])
        counted.add(view, counts_fg[None])
    labels_HW = _weighted_majority(weighted_labels, ignored_HW.shape, len(label_set))
    labels_HW = np.where(ignored_HW, np.uint8(IGNORE), labels_HW)
    ensemble_CHW, counted_HW = ensemble.result(), counted.result()[0]
    if config.weigh_by != "none":
        ensemble_CHW /= np.where(counted_HW > 0, counted_HW, np.float32(1))
    reliable_HW = (reliable.result()[0] >= counted_HW * np.float32(0.5 - _ROUNDING)) & ~ignored_HW
    fusion = Fusion(labels_HW, ensemble_CHW, reliable_HW)
    unseen_HW = ensemble.total_HW == 0
    if unseen_HW.any():
        alone = compose_view(assistant_CHW, agreement_HW, ignored_HW, no_regions(height, width), config)
        fusion.labels_HW[unseen_HW] = alone.labels_HW[unseen_HW]
        fusion.ensemble_CHW[:, unseen_HW] = alone.ensemble_CHW[:, unseen_HW]
        fusion.reliable_HW[unseen_HW] = alone.reliable_HW[unseen_HW]
    return fusion


def compose_view(
    probabilities_Cfg: FloatArray,
    agreement_fg: FloatArray,
    ignored_fg: BoolArray,
    regions: Regions,
    config: FusionConfig,
    thresholds_M: FloatArray | None = None,
) -> Fusion:
    """E_i, soft E_i and M_i of one view on its footprint.

    Args:
        probabilities_Cfg: the assistant's.
        agreement_fg: A in [0, 1].
        ignored_fg: pixels without label.
        regions: the view's, their owners at the pixels of the footprint.
        config: as for `compose`.
        thresholds_M: Lcr from which each mask is reliable; None: `config.theta`.
    """
    owned_fg = (regions.owners_hw != NO_MASK) & ~ignored_fg
    owners_fg = np.where(owned_fg, regions.owners_hw, NO_MASK)
    # One more entry than masks, for NO_MASK (-1).
    coverage_fg = np.append(regions.votes.coverage_M, np.float32(0))[owners_fg]
    winners_fg = np.append(regions.votes.winners_M, np.uint8(0))[owners_fg]

    thresholds_fg = np.float32(config.theta) if thresholds_M is None else np.append(thresholds_M, np.inf)[owners_fg]
    reliable_fg = coverage_fg >= thresholds_fg
    labelled_fg = owned_fg & (reliable_fg | (coverage_fg >= config.paint_from))
    if config.unreliable == "keep":
        labelled_fg = owned_fg & reliable_fg
    agreed_fg = agreement_fg >= config.uncovered_agreement
    uncovered_reliable_fg = agreed_fg & (probabilities_Cfg.max(axis=0) >= config.uncovered_confidence)
    assistant_fg = probabilities_Cfg.argmax(axis=0).astype(np.uint8)
    return Fusion(
        labels_HW=np.where(ignored_fg, np.uint8(IGNORE), np.where(labelled_fg, winners_fg, assistant_fg)),
        ensemble_CHW=_soften(probabilities_Cfg, winners_fg, np.where(labelled_fg, coverage_fg, np.float32(0))),
        reliable_HW=np.where(owned_fg, reliable_fg, uncovered_reliable_fg) & ~ignored_fg,
    )


_ROUNDING = 1e-5
"""What views that weigh alike may differ by, as a share: float32 must not decide between them, pixel by pixel."""
LEVELS = (0.02, 0.1)
"""Shares of a view's area from which masks are medium, and large."""


def mask_thresholds(regions: Sequence[Regions], config: FusionConfig) -> list[FloatArray | None]:
    """Lcr from which each mask of each view is reliable; None per view where `config.theta` is that of all.

    With levels it is the mean Lcr of the panorama's masks of like size (GoodSAM++: Lcr is averaged within large, medium
    and small masks, so that no theta is set by hand). Masks without votes do not count.
    """
    if config.theta_by == "setting" or not regions:
        return [None] * len(regions)
    levels = [np.digitize(own.votes.areas_M / own.owners_hw.size, LEVELS) for own in regions]
    level_N = np.concatenate(levels)
    coverage_N = np.concatenate([own.votes.coverage_M for own in regions])
    means = np.array([_mean(coverage_N[(level_N == level) & (coverage_N > 0)]) for level in range(len(LEVELS) + 1)])
    return [means[levels_M].astype(np.float32) for levels_M in levels]


def _mean(values: npt.NDArray[np.floating]) -> float:
    # In float32 the mean of equal values may exceed each of them, and none would be reliable.
    return float(values.mean(dtype=np.float64)) if len(values) else 1.0


def require_alike(
    probabilities_CHW: FloatArray, agreement_HW: FloatArray, ignored_HW: BoolArray, label_set: LabelSet
) -> None:
    """Refuse inputs that do not fit together.

    Raises:
        ValueError: classes or sizes differ, or `ignored_HW` is not of bool.
    """
    found = (probabilities_CHW.shape, agreement_HW.shape, ignored_HW.dtype)
    if found != ((len(label_set), *ignored_HW.shape), ignored_HW.shape, np.bool_):
        raise ValueError(
            f"probabilities are {probabilities_CHW.shape}, the agreement {agreement_HW.shape}, ignored pixels "
            f"{ignored_HW.shape} of {ignored_HW.dtype}; they must be [C, H, W] of the {len(label_set)} classes of "
            f"{label_set.name}, [H, W], and [H, W] of bool"
        )


def _mask_weights(
    owners_fg: npt.NDArray[np.int32], weights_M: npt.NDArray[np.float32], confidence_fg: FloatArray
) -> FloatArray:
    """The weight of the mask that owns each pixel, or the assistant's confidence where none does; never quite 0."""
    of_masks_fg = np.append(weights_M, np.float32(0))[owners_fg]
    return np.maximum(np.where(owners_fg == NO_MASK, confidence_fg, of_masks_fg), np.float32(1e-6))


def _weighted_majority(
    weighted_labels: Sequence[tuple[Window, LabelArray, FloatArray]], shape: tuple[int, int], classes: int
) -> LabelArray:
    """The label with the most weight at each pixel, the lowest on ties.

    Computed class by class: weights of all classes at once would take as much memory as the ensemble.

    Args:
        weighted_labels: footprint, labels_fg and weights_fg of each view.
        shape: of the panorama.
        classes: number of classes; other labels do not count.
    """
    majority_HW, highest_HW = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    for class_id in range(classes):
        weight_HW = np.zeros(shape, np.float32)
        for footprint, labels_fg, weights_fg in weighted_labels:
            add_to(weight_HW, footprint, weights_fg * (labels_fg == class_id))
        majority_HW[weight_HW > highest_HW * np.float32(1 + _ROUNDING)] = class_id
        np.maximum(highest_HW, weight_HW, out=highest_HW)
    return majority_HW


def _soften(probabilities_CHW: FloatArray, winners_HW: LabelArray, share_HW: FloatArray) -> FloatArray:
    """share * onehot(winner) + (1 - share) * probabilities, per pixel."""
    soft_CHW = probabilities_CHW * (1 - share_HW)
    rows, columns = np.ogrid[: winners_HW.shape[0], : winners_HW.shape[1]]
    soft_CHW[winners_HW, rows, columns] += share_HW
    return soft_CHW
