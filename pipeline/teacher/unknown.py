"""Unknown objects: things that SAM cuts out well and that none of the classes describes.

Neither SAM nor the assistant knows them by name. They show by a disagreement of the assistant with itself: inside a
mask with a high predicted IoU its probabilities spread over several classes, and none of these is the ground or wall
that the mask might be a piece of.

Legend: C classes, H W panorama, h w view, M masks of one view, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray
from pipeline.classes import LabelSet
from pipeline.panorama.edges import label_edges
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window, cut
from pipeline.teacher.config import UnknownConfig
from pipeline.teacher.masks import MaskSet


@dataclass(frozen=True, eq=False)
class UnknownObjects:
    """What no class describes, in one panorama."""

    numbers_HW: npt.NDArray[np.uint16]
    """The object at each pixel, numbered from 1 from left to right; 0 for none."""
    predicted_iou_N: npt.NDArray[np.float32]
    """The highest predicted IoU among the masks of each object."""
    probabilities_NC: FloatArray
    """The assistant's mean probabilities inside each."""

    @property
    def entropy_N(self) -> FloatArray:
        """Entropy of these, as a share of the highest possible, in [0, 1]."""
        return entropy(self.probabilities_NC)


def find_unknown(
    assistant_CHW: FloatArray,
    ignored_HW: BoolArray,
    views: Sequence[View],
    masks: Sequence[MaskSet],
    label_set: LabelSet,
    config: UnknownConfig,
) -> UnknownObjects:
    """The unknown objects of a panorama; masks of several views that touch are one object.

    Args:
        assistant_CHW: S_TA^w, probabilities in the classes of `label_set`.
        ignored_HW: pixels where nothing is found.
        views: of the panorama.
        masks: one set per view, in the views' order.
        label_set: the classes; in sets without stuff every class may describe an object.
        config: what counts as unknown.
    """
    best_HW = np.zeros(ignored_HW.shape, np.float32)
    for view, own in zip(views, masks, strict=True):
        probabilities_Chw = np.stack([view.cut_nearest(of_class_HW) for of_class_HW in assistant_CHW])
        ignored_hw = view.cut_nearest(ignored_HW)
        found_hw = _found(probabilities_Chw, ignored_hw, view.covered_hw, own, label_set, config)
        _raise_to(best_HW, view.footprint, view.project_nearest(found_hw))
    best_HW[ignored_HW] = 0
    numbers_HW = numbered(best_HW > 0)
    count = int(numbers_HW.max(initial=0))
    predicted_iou_N = np.zeros(count + 1, np.float32)
    np.maximum.at(predicted_iou_N, numbers_HW.ravel(), best_HW.ravel())
    sums_CN = [np.bincount(numbers_HW.ravel(), of_class_HW.ravel(), count + 1) for of_class_HW in assistant_CHW]
    areas_N = np.bincount(numbers_HW.ravel(), minlength=count + 1)
    probabilities_NC = (np.stack(sums_CN, axis=1)[1:] / areas_N[1:, None]).astype(np.float32)
    return UnknownObjects(numbers_HW, predicted_iou_N[1:], probabilities_NC)


def entropy(probabilities_NC: FloatArray) -> FloatArray:
    """Entropy of each row of probabilities, as a share of the highest possible, in [0, 1]."""
    logarithms_NC = np.log(np.maximum(probabilities_NC, np.float32(1e-12)))
    return -(probabilities_NC * logarithms_NC).sum(axis=1) / np.log(max(probabilities_NC.shape[1], 2))


def _found(
    probabilities_Chw: FloatArray,
    ignored_hw: BoolArray,
    covered_hw: BoolArray,
    masks: MaskSet,
    label_set: LabelSet,
    config: UnknownConfig,
) -> FloatArray:
    """Predicted IoU [h, w] of the view's unknown objects, 0 elsewhere.

    Masks that touch the view's border or a band's are left out: a piece of a wall looks like an object there, and a
    real object lies in the middle of another view.
    """
    found_hw = np.zeros(ignored_hw.shape, np.float32)
    rim_hw = covered_hw & label_edges(np.pad(covered_hw, 1))[1:-1, 1:-1]
    for (box, bitmap), predicted_iou in zip(masks.placed(), masks.predicted_iou_M, strict=True):
        touches = bool((rim_hw[box] & bitmap).any())
        if touches or predicted_iou < config.min_predicted_iou or bitmap.sum() > config.max_size * found_hw.size:
            continue
        seen = bitmap & ~ignored_hw[box]
        if not seen.any():
            continue
        mean_C = probabilities_Chw[:, *box][:, seen].mean(axis=1)
        is_unclear = entropy(mean_C[None])[0] >= config.min_entropy
        if is_unclear and mean_C[list(label_set.stuff)].sum() <= config.max_stuff:
            np.maximum(found_hw[box], np.where(bitmap, predicted_iou, np.float32(0)), out=found_hw[box])
    return found_hw


def _raise_to(panorama_HW: FloatArray, footprint: Window, values_fg: FloatArray) -> None:
    """Raise the panorama's values to those of a footprint, in place."""
    columns = (footprint.column + np.arange(footprint.width)) % panorama_HW.shape[1]
    panorama_HW[footprint.rows, columns] = np.maximum(cut(panorama_HW, footprint), values_fg)


def numbered(flags_HW: BoolArray) -> npt.NDArray[np.uint16]:
    """Regions of flags, connected at corners and over the seam too, numbered from 1 by their first column."""
    count, parts_HW = cv2.connectedComponents(flags_HW.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    same = np.arange(count)
    across_H = np.pad(parts_HW[:, -1], 1)
    for row, part in enumerate(parts_HW[:, 0]):
        for neighbour in across_H[row : row + 3]:  # above, beside, and below, on the other side of the seam
            if part and neighbour:
                low, high = sorted((int(same[part]), int(same[neighbour])))
                same[same == high] = low
    parts_HW = same[np.asarray(parts_HW, np.intp)]
    _, first = np.unique(parts_HW.T, return_index=True)  # column by column
    in_order = parts_HW.T.ravel()[np.sort(first)]
    numbers = np.zeros(count, np.uint16)
    numbers[in_order[in_order > 0]] = np.arange(1, np.count_nonzero(in_order) + 1)
    return numbers[parts_HW]
