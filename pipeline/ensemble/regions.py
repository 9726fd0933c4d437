"""Regions with voted labels: the part of fusion that does not depend on the assistant's probabilities.

Legend: M masks of a view, h w view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_MASK = -1
"""Index at pixels without a mask."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Results of the vote, per mask of a view."""

    winners_M: npt.NDArray[np.uint8]
    """The label with most votes, the lowest on ties; undefined where there are no votes."""
    coverage_M: npt.NDArray[np.float32]
    """Lcr: the winner's share of the mask's pixels that are not ignored; 0 where all are ignored."""
    areas_M: npt.NDArray[np.int64]
    """Pixels of the mask, ignored ones too."""
    weights_M: npt.NDArray[np.float32] | None = None
    """How much each mask counts where views differ, in [0, 1]; None: all count alike."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Masks of a view with their labels, without overlaps."""

    owners_hw: npt.NDArray[np.int32]
    """Index of the mask that owns each pixel, or NO_MASK."""
    votes: Votes
    """The vote of each mask."""


def no_regions(height: int, width: int) -> Regions:
    """A view of h x w pixels without masks."""
    votes = Votes(np.empty(0, np.uint8), np.empty(0, np.float32), np.empty(0, np.int64))
    return Regions(np.full((height, width), NO_MASK, np.int32), votes)
