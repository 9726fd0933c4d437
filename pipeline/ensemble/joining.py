"""Regions on the sphere: masks of overlapping views that show the same thing are one region, which votes once.

The paper's windows vote apart. Where two overlap, the same road can then be road in one and sidewalk in the other,
reliable here and not there, with the window's border as the outline. We: two masks are of one region if, among the
pixels that both views see, their intersection over union exceeds a threshold and each is the other's best match. So a
region goes on from view to view, over the seam too; its votes are those of its masks together.

Legend: H W panorama, h w view, f g footprint of a view (rows, columns), M masks of one view, N those of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.ensemble.regions import NO_MASK, Regions
from pipeline.panorama.views import View
from pipeline.panorama.windows import add_to, cut

_UNSEEN = NO_MASK - 1
"""Where a view sees nothing."""
_Owners = npt.NDArray[np.int32]


def joined_regions(
    views: Sequence[View], regions: Sequence[Regions], height: int, width: int, min_iou: float
) -> list[npt.NDArray[np.intp]]:
    """Number of the region, counted from 0 over the panorama, of every view's masks, [M] each.

    Args:
        views: of the panorama.
        regions: masks of each view.
        height: rows of the panorama, pixels.
        width: columns of the panorama, pixels.
        min_iou: masks of two views are joined above this intersection over union, in [0, 1].
    """
    placed = [view.project_nearest(own.owners_hw, outside=_UNSEEN) for view, own in zip(views, regions, strict=True)]
    counts = [len(own.votes.areas_M) for own in regions]
    first = np.cumsum([0, *counts]).tolist()
    joined = _Forest(first[-1])
    for i, view in enumerate(views):
        owners_HW = np.full((height, width), _UNSEEN, np.int32)
        add_to(owners_HW, view.footprint, placed[i] - _UNSEEN)  # so that they are what they were
        for j in range(i + 1, len(views)):
            seen_fg = cut(owners_HW, views[j].footprint)
            for m, n in matching_masks(seen_fg, placed[j], counts[i], counts[j], min_iou):
                joined.join(first[i] + m, first[j] + n)
    numbers = np.unique([joined.root(mask) for mask in range(first[-1])], return_inverse=True)[1]
    return np.split(numbers.astype(np.intp), first[1:-1])


def matching_masks(
    owners_fg: _Owners, others_fg: _Owners, count: int, other_count: int, min_iou: float
) -> list[tuple[int, int]]:
    """Pairs of masks of two views that are each other's best match above `min_iou`.

    Args:
        owners_fg: mask of the one view at the pixels of the other's footprint; NO_MASK, or less where it sees nothing.
        others_fg: likewise of the other.
        count: M, masks of the one.
        other_count: N, masks of the other.
        min_iou: intersection over union, in [0, 1], of the pixels that both views see.
    """
    both_fg = (owners_fg >= NO_MASK) & (others_fg >= NO_MASK)
    pairs = (owners_fg[both_fg] - NO_MASK) * (other_count + 1) + others_fg[both_fg] - NO_MASK
    table = np.bincount(pairs, minlength=(count + 1) * (other_count + 1)).reshape(count + 1, other_count + 1)
    shared_MN = table[1:, 1:]
    if not shared_MN.any():
        return []
    areas_M1, areas_1N = table.sum(axis=1)[1:, None], table.sum(axis=0)[None, 1:]
    iou_MN = shared_MN / np.maximum(areas_M1 + areas_1N - shared_MN, 1)
    best = (iou_MN > min_iou) & (iou_MN == iou_MN.max(axis=0)) & (iou_MN == iou_MN.max(axis=1, keepdims=True))
    return [(int(m), int(n)) for m, n in np.argwhere(best)]


class _Forest:
    """Disjoint sets of masks."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, member: int) -> int:
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member

    def join(self, one: int, other: int) -> None:
        self._parents[self.root(one)] = self.root(other)
