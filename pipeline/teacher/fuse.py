"""Cross-task complementary fusion (CTCF): SAM's masks say where, the assistant says what (paper figure 2, Eq. 3).

In every window, each mask K_i^m takes a vote among the assistant's labels inside it. The winner is painted over the
whole mask; its label coverage ratio Lcr decides whether the mask is reliable. The windows' results are then blended
over the panorama, so that masks cut off by a window's border count little.

Paper: S_i is the assistant's prediction in window i. We: the stitched prediction S_TA^w cut to window i, because
neighbouring windows (and the whole image, if mixed in) have then already corrected each other.

Legend: C classes, H W panorama, h w window, M masks of one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE, LabelSet
from pipeline.panorama.windows import FloatArray, Stitcher, Window, add_to, cut
from pipeline.teacher.config import FusionConfig
from pipeline.teacher.masks import MaskSet

Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
Owners = npt.NDArray[np.int32]

NOBODY = -1
"""Owner of pixels that no mask has painted."""


@dataclass(frozen=True, eq=False)
class WindowFusion:
    """The fusion of one window."""

    labels_hw: Labels
    """E_i: every mask's winner as painted (with "keep", every reliable mask's); the assistant's argmax elsewhere;
    IGNORE where ignored."""
    ensemble_Chw: FloatArray
    """Soft E_i: Lcr * onehot(winner) + (1 - Lcr) * assistant in those masks, the assistant's probabilities
    elsewhere."""
    reliable_hw: Bools
    """M_i."""


@dataclass(frozen=True, eq=False)
class Fusion:
    """The fusion of one panorama."""

    labels_HW: Labels
    """E: the label that has the most weight among the windows' E_i, the lowest of equals; IGNORE where ignored."""
    ensemble_CHW: FloatArray
    """Soft E: the windows' soft E_i, blended; probabilities. Its argmax is not everywhere E: a winner with less than
    half of its mask yields to the assistant where the assistant is certain."""
    reliable_HW: Bools
    """M: the blended majority of the windows' M_i."""


@dataclass(frozen=True, eq=False)
class Votes:
    """What the masks of a window have voted for."""

    winners_M: Labels
    """The label with most votes, the lowest of equals; meaningless where nobody voted."""
    coverage_M: FloatArray
    """Lcr: the winner's share of the mask's pixels that are not ignored; 0 where all are ignored."""
    areas_M: npt.NDArray[np.int64]
    """Pixels of the mask, ignored ones too."""


def vote(labels_hw: Labels, ignored_hw: Bools, masks: MaskSet, classes: int) -> Votes:
    """Count the assistant's labels inside every mask; ignored pixels have no vote."""
    ballots_hw = labels_hw | -ignored_hw.view(np.uint8)  # IGNORE, which is all ones, where ignored
    counts_MB = np.zeros((len(masks), 256), np.int64)
    for counts_B, (box, bitmap) in zip(counts_MB, masks.placed(), strict=True):
        counts_B[:] = cv2.calcHist([ballots_hw[box]], [0], bitmap.view(np.uint8), [256], [0, 256]).ravel()
    counts_MC = counts_MB[:, :classes]
    coverage_M = counts_MC.max(axis=1) / np.maximum(counts_MC.sum(axis=1), 1)
    areas_M = counts_MB.sum(axis=1)
    return Votes(counts_MC.argmax(axis=1).astype(np.uint8), coverage_M.astype(np.float32), areas_M)


def fuse_window(
    probabilities_Chw: FloatArray,
    agreement_hw: FloatArray,
    ignored_hw: Bools,
    masks: MaskSet,
    label_set: LabelSet,
    config: FusionConfig,
) -> WindowFusion:
    """Fuse one window.

    Args:
        probabilities_Chw: the assistant's, in the classes of `label_set`.
        agreement_hw: A in [0, 1].
        ignored_hw: pixels without vote or label.
        masks: of this window, h x w; they may overlap.

    Raises:
        ValueError: classes or sizes differ, or `ignored_hw` is not of bool.
    """
    _require_alike(probabilities_Chw, agreement_hw, ignored_hw, label_set)
    if (masks.height, masks.width) != ignored_hw.shape:
        raise ValueError(f"masks are of a window of {(masks.height, masks.width)}, the window is {ignored_hw.shape}")
    assistant_hw = probabilities_Chw.argmax(axis=0).astype(np.uint8)
    votes = vote(assistant_hw, ignored_hw, masks, len(label_set))
    owners_hw = _paint(assistant_hw, ignored_hw, masks, votes, label_set, config)
    owned_hw = owners_hw != NOBODY
    # One more entry than masks: NOBODY (-1) reads it.
    coverage_hw = np.append(votes.coverage_M, np.float32(0))[owners_hw]
    winners_hw = np.append(votes.winners_M, np.uint8(0))[owners_hw]

    sure_hw = coverage_hw >= config.theta
    painted_hw = owned_hw if config.unreliable == "paint" else owned_hw & sure_hw
    agreed_hw = agreement_hw >= config.uncovered_agreement
    uncovered_sure_hw = agreed_hw & (probabilities_Chw.max(axis=0) >= config.uncovered_confidence)
    return WindowFusion(
        labels_hw=np.where(ignored_hw, np.uint8(IGNORE), np.where(painted_hw, winners_hw, assistant_hw)),
        ensemble_Chw=_soften(probabilities_Chw, winners_hw, np.where(painted_hw, coverage_hw, np.float32(0))),
        reliable_hw=np.where(owned_hw, sure_hw, uncovered_sure_hw) & ~ignored_hw,
    )


def fuse(
    assistant_CHW: FloatArray,
    agreement_HW: FloatArray,
    ignored_HW: Bools,
    windows: Sequence[Window],
    masks: Sequence[MaskSet],
    label_set: LabelSet,
    config: FusionConfig,
) -> Fusion:
    """Fuse every window and blend the results with the windows' raised-cosine weights.

    Args:
        assistant_CHW: S_TA^w, probabilities in the classes of `label_set`.
        agreement_HW: A in [0, 1].
        ignored_HW: pixels without vote or label.
        windows: covering the panorama.
        masks: one set per window, in the windows' order.

    Raises:
        ValueError: classes, sizes or numbers of windows differ, or `ignored_HW` is not of bool.
    """
    _require_alike(assistant_CHW, agreement_HW, ignored_HW, label_set)
    height, width = ignored_HW.shape
    ensemble = Stitcher(height, width, len(label_set), windows)
    reliable = Stitcher(height, width, 1, windows)
    opinions: list[tuple[Window, Labels, FloatArray]] = []
    for window, own_masks in zip(windows, masks, strict=True):
        fused = fuse_window(
            cut(assistant_CHW, window, axis=1),
            cut(agreement_HW, window),
            cut(ignored_HW, window),
            own_masks,
            label_set,
            config,
        )
        opinions.append((window, fused.labels_hw, ensemble.weights(window)))
        ensemble.add(window, fused.ensemble_Chw)
        reliable.add(window, fused.reliable_hw[None].astype(np.float32))
    labels_HW = np.where(ignored_HW, np.uint8(IGNORE), _heaviest(opinions, ignored_HW.shape, len(label_set)))
    return Fusion(labels_HW, ensemble.result(), (reliable.result()[0] >= 0.5) & ~ignored_HW)


def _require_alike(
    probabilities_CHW: FloatArray, agreement_HW: FloatArray, ignored_HW: Bools, label_set: LabelSet
) -> None:
    """Refuse what would be fused wrongly without a word, or fail far from here."""
    found = (probabilities_CHW.shape, agreement_HW.shape, ignored_HW.dtype)
    if found != ((len(label_set), *ignored_HW.shape), ignored_HW.shape, np.bool_):
        raise ValueError(
            f"probabilities are {probabilities_CHW.shape}, the agreement {agreement_HW.shape}, ignored pixels "
            f"{ignored_HW.shape} of {ignored_HW.dtype}; they must be [C, H, W] of the {len(label_set)} classes of "
            f"{label_set.name}, [H, W], and [H, W] of bool"
        )


def _heaviest(opinions: Sequence[tuple[Window, Labels, FloatArray]], shape: tuple[int, int], classes: int) -> Labels:
    """Of the labels that windows give a pixel, the one with most weight, the lowest of equals.

    Class by class: the weights of all at once would take as much memory as the ensemble.

    Args:
        opinions: a window, its labels_hw and their weights_hw.
        shape: of the panorama.
        classes: number of classes; other labels do not count.
    """
    heaviest_HW, most_HW = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
    for class_id in range(classes):
        weight_HW = np.zeros(shape, np.float32)
        for window, labels_hw, weights_hw in opinions:
            add_to(weight_HW, window, weights_hw * (labels_hw == class_id))
        heaviest_HW[weight_HW > most_HW] = class_id
        np.maximum(most_HW, weight_HW, out=most_HW)
    return heaviest_HW


def _paint(
    assistant_hw: Labels, ignored_hw: Bools, masks: MaskSet, votes: Votes, label_set: LabelSet, config: FusionConfig
) -> Owners:
    """The mask that owns each pixel, or NOBODY: painted by descending area, so small masks win.

    Of masks of equal area the later of the generator's order wins. Masks in which nobody voted paint nothing.
    """
    owners_hw = np.full(assistant_hw.shape, NOBODY, np.int32)
    thin_hw = np.isin(assistant_hw, label_set.thin)
    large_area = config.large_mask * assistant_hw.size
    placed = list(masks.placed())
    for m in np.argsort(-votes.areas_M, kind="stable").tolist():
        if votes.coverage_M[m] == 0:
            continue
        box, painted = placed[m]
        if config.protect_thin and votes.areas_M[m] >= large_area:
            painted = painted & ~(thin_hw[box] & (assistant_hw[box] != votes.winners_M[m]))
        owners_hw[box][painted] = m
    owners_hw[ignored_hw] = NOBODY
    return owners_hw


def _soften(probabilities_Chw: FloatArray, winners_hw: Labels, share_hw: FloatArray) -> FloatArray:
    """share * onehot(winner) + (1 - share) * probabilities, per pixel."""
    soft_Chw = probabilities_Chw * (1 - share_hw)
    rows, columns = np.ogrid[: winners_hw.shape[0], : winners_hw.shape[1]]
    soft_Chw[winners_hw, rows, columns] += share_hw
    return soft_Chw
