"""Prompts that the assistant gives SAM: things that it sees, and points where the two are in doubt.

The grid asks SAM everywhere alike. A pole falls between its points; a facade of one class gets dozens. We: every
connected piece of a thing or a thin class gets its box and two of its points, and further points lie where the
assistant is least sure or the grid's masks contradict it. SAM's answers pass the grid's filters and are masks among
masks: the vote does not know where they come from.

Legend: C classes, H W panorama, h w view, B things, P points, M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, FloatArray, ImageArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.ensemble.regions import NO_MASK
from pipeline.panorama.views import View
from pipeline.teacher.ballots import ViewPrediction
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.embeddings import KeptEmbeddings
from pipeline.teacher.generator.prompts import FurtherPrompts
from pipeline.teacher.generator.proposals import non_max_suppression
from pipeline.teacher.masks import MaskSet, joined, tight
from pipeline.teacher.projected_masks import inside_panorama
from pipeline.teacher.sam import SamMaskGenerator
from pipeline.teacher.vote import vote_in_view

SMALLEST = 30
"""Pieces of fewer pixels are not prompted: the assistant's labels are that noisy, and SAM's cells that coarse."""


def masks_with_prompts(
    source: SamMaskGenerator,
    pictures: Sequence[ImageArray],
    views: Sequence[View],
    masks: Sequence[MaskSet],
    assistant_CHW: FloatArray,
    label_set: LabelSet,
    config: SamConfig,
    kept: KeptEmbeddings | None = None,
) -> list[MaskSet]:
    """The masks of every view, and those that the assistant's prompts find, without duplicates.

    Args:
        source: answers the prompts.
        pictures: what SAM is shown of each view, RGB, uint8 [h, w, 3].
        views: of the panorama.
        masks: the grid's, one set per view.
        assistant_CHW: S_TA^w, probabilities in the classes of `label_set`.
        label_set: the classes.
        config: which prompts are asked for, and from which overlap masks are duplicates.
        kept: has embeddings of the pictures, as `source.many` has left them; others are computed again.

    Raises:
        GoodSAMError: as `SamMaskGenerator.answers`.
    """
    further = [
        further_prompts(np.stack([view.cut_nearest(own_HW) for own_HW in assistant_CHW]), own, label_set, config)
        for view, own in zip(views, masks, strict=True)
    ]
    found = zip(views, masks, source.answers(pictures, further, kept), strict=True)
    return [without_duplicates(own, inside_panorama(view, answers), config.box_nms_thresh)
            for view, own, answers in found]  # fmt: skip


def further_prompts(
    probabilities_Chw: FloatArray, masks: MaskSet, label_set: LabelSet, config: SamConfig
) -> FurtherPrompts:
    """The prompts of one view, as `config` asks for them.

    Args:
        probabilities_Chw: the assistant's.
        masks: the grid's.
        label_set: the classes.
        config: which prompts are asked for.
    """
    labels_hw = probabilities_Chw.argmax(axis=0).astype(np.uint8)
    pieces = things(labels_hw, label_set) if config.prompt_things else []
    boxes_B4 = np.array([tight(piece_hw)[0] for piece_hw in pieces], np.float64).reshape(-1, 4)
    inside_B22 = np.array([two_points(piece_hw) for piece_hw in pieces], np.float64).reshape(-1, 2, 2)
    points_P2 = np.empty((0, 2))
    if config.points_in_doubt:
        points_P2 = points_in_doubt(doubt(probabilities_Chw, labels_hw, masks, label_set), config.points_in_doubt)
    return FurtherPrompts(boxes_B4[:, [1, 0, 3, 2]], inside_B22, points_P2)  # boxes of masks have y before x


def things(labels_hw: LabelArray, label_set: LabelSet) -> list[BoolArray]:
    """The connected pieces of thin classes and of things, where the set tells which classes are stuff, [h, w] each.

    Args:
        labels_hw: class ids.
        label_set: the classes.
    """
    not_stuff = set(range(len(label_set))) - set(label_set.stuff) if label_set.stuff else set[int]()
    found: list[BoolArray] = []
    for class_id in sorted(not_stuff | set(label_set.thin)):
        count, numbers_hw, figures, _ = cv2.connectedComponentsWithStats((labels_hw == class_id).astype(np.uint8))
        areas = figures[:, cv2.CC_STAT_AREA]
        found += [numbers_hw == number for number in range(1, count) if areas[number] >= SMALLEST]
    return found


def two_points(piece_hw: BoolArray) -> npt.NDArray[np.float64]:
    """Two points (x, y) [2, 2] in a piece: its innermost pixel, and of those at least half as deep the farthest."""
    depth_hw = cv2.distanceTransform(np.pad(piece_hw, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    innermost = np.array(np.unravel_index(depth_hw.argmax(), depth_hw.shape))
    inner_P2 = np.argwhere(depth_hw >= depth_hw.max() / 2)
    farthest = inner_P2[((inner_P2 - innermost) ** 2).sum(axis=1).argmax()]
    return np.stack([innermost, farthest])[:, ::-1].astype(np.float64) + 0.5


def doubt(
    probabilities_Chw: FloatArray, labels_hw: LabelArray, masks: MaskSet, label_set: LabelSet
) -> npt.NDArray[np.float64]:
    """How little is known of each pixel, in [0, 2]: the assistant's entropy, as a share of the highest possible one,
    and 1 more where the mask that owns the pixel has elected another label."""
    certain_Chw = np.maximum(probabilities_Chw, 1e-12)
    entropy_hw = -(probabilities_Chw * np.log(certain_Chw)).sum(axis=0) / np.log(max(len(label_set), 2))
    prediction = ViewPrediction(labels_hw, np.zeros(labels_hw.shape, np.bool_))
    voted = vote_in_view(prediction, masks, label_set, (), FusionConfig())
    winners_hw = np.append(voted.votes.winners_M, np.uint8(0))[voted.owners_hw]
    contradicts_hw = (voted.owners_hw != NO_MASK) & (winners_hw != labels_hw)
    return entropy_hw.astype(np.float64) + contradicts_hw


def points_in_doubt(doubt_hw: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Up to `count` points (x, y) [P, 2], one after the other where most doubt is left around; each takes the doubt of
    its surroundings, so that none lies where another has asked."""
    height, width = doubt_hw.shape
    spacing = np.sqrt(height * width / (2 * count))  # so that as many points could fill half of the view
    left_hw = cv2.GaussianBlur(doubt_hw.astype(np.float32), (0, 0), spacing / 4)
    points: list[tuple[float, float]] = []
    for _ in range(count):
        y, x = divmod(int(left_hw.argmax()), width)
        if left_hw[y, x] <= 0:
            break
        points.append((x + 0.5, y + 0.5))
        cv2.circle(left_hw, (x, y), max(1, round(spacing / 2)), 0.0, -1)
    return np.array(points, np.float64).reshape(-1, 2)


def without_duplicates(masks: MaskSet, others: MaskSet, max_iou: float) -> MaskSet:
    """Both sets as one; of masks whose boxes overlap by more than `max_iou` the one with the highest predicted IoU."""
    both = joined(masks, others)
    return both.filter(np.sort(non_max_suppression(both.boxes_M4, both.predicted_iou_M, max_iou)))
