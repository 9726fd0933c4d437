"""Edges of label maps.

Legend: H W panorama, or a part of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray


def label_edges(labels_HW: npt.NDArray[np.generic], wrap: bool = False, both_sides: bool = True) -> BoolArray:
    """Pixels with another label than one of their four neighbours [H, W].

    Args:
        labels_HW: labels of any type.
        wrap: the first column is a neighbour of the last (panoramas). Otherwise, pixels have no neighbour beyond the
            frame.
        both_sides: mark the pixels on both sides of an edge; otherwise only those to its left or above it.
    """
    edges_HW = np.zeros(labels_HW.shape, np.bool_)
    below = labels_HW[1:] != labels_HW[:-1]
    right = labels_HW[:, 1:] != labels_HW[:, :-1]
    seam = wrap & (labels_HW[:, 0] != labels_HW[:, -1])
    edges_HW[:-1] |= below
    edges_HW[:, :-1] |= right
    edges_HW[:, -1] |= seam
    if both_sides:
        edges_HW[1:] |= below
        edges_HW[:, 1:] |= right
        edges_HW[:, 0] |= seam
    return edges_HW
