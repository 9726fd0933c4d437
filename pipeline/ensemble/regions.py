"""What masks have voted for: the half of fusion's result that does not depend on the assistant's probabilities.

Legend: M masks of a view, h w view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NO_MASK = -1
"""Stands at pixels that no mask owns."""


@dataclass(frozen=True, eq=False)
class Votes:
    """What the masks of a view have voted for."""

    winners_M: npt.NDArray[np.uint8]
    """The label with most votes, the lowest of equals; meaningless where nobody voted."""
    coverage_M: npt.NDArray[np.float32]
    """Lcr: the winner's share of the mask's pixels that are not ignored; 0 where all are ignored."""
    areas_M: npt.NDArray[np.int64]
    """Pixels of the mask, ignored ones too."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Masks of a view that have voted and no longer overlap."""

    owners_hw: npt.NDArray[np.int32]
    """Index of the mask to which a pixel belongs, or NO_MASK."""
    votes: Votes
    """What each mask has voted for."""
