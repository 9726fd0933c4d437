"""SAM's masks of all views as one list of pixels, so that a vote of all masks is a single count.

Legend: M masks of all views, P pairs of a mask and one of its pixels, N pixels that are scored, C classes, H W
panorama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, LabelArray
from pipeline.panorama.views import View
from pipeline.teacher.masks import MaskSet

_UNSCORED = -1


@dataclass(frozen=True, eq=False)
class MaskPixels:
    """Which scored pixels lie in which mask; a pixel may lie in several."""

    masks_P: npt.NDArray[np.int32]
    """The mask, 0 to M - 1."""
    pixels_P: npt.NDArray[np.int32]
    """The pixel's place among the scored ones, 0 to N - 1."""
    count: int
    """M."""

    @classmethod
    def of(cls, views: Sequence[View], masks: Sequence[MaskSet], scored_HW: BoolArray) -> MaskPixels:
        """The pixels of all masks.

        Args:
            views: of one panorama.
            masks: one set per view, in the views' order.
            scored_HW: pixels of the panorama that are scored; N of them, counted row by row.
        """
        places_HW = np.full(scored_HW.shape, _UNSCORED, np.int32)
        places_HW[scored_HW] = np.arange(np.count_nonzero(scored_HW), dtype=np.int32)
        parts: list[npt.NDArray[np.int32]] = []
        for view, own_masks in zip(views, masks, strict=True):
            places_hw = view.cut_nearest(places_HW)
            inside = (places_hw[box][bitmap] for box, bitmap in own_masks.placed())
            parts += [places[places != _UNSCORED] for places in inside]
        sizes_M = [len(part) for part in parts]
        masks_P = np.repeat(np.arange(len(parts), dtype=np.int32), sizes_M)
        return cls(masks_P, np.concatenate([np.empty(0, np.int32), *parts]), len(parts))

    def votes(self, labels_N: LabelArray, classes: int) -> npt.NDArray[np.int64]:
        """How many pixels of each mask have each class, [M, C].

        Args:
            labels_N: class ids of the scored pixels.
            classes: C.
        """
        pairs_P = self.masks_P.astype(np.int64) * classes + labels_N[self.pixels_P]
        return np.bincount(pairs_P, minlength=self.count * classes).reshape(self.count, classes)
