"""Label maps and masks that the formats of labelling tools are tried on."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE

LABEL_MAPS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 12, IGNORE]))
)
MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))


def street() -> LabelArray:
    """A label map with a class that touches both sides of the seam, thin things and unlabelled pixels."""
    labels = np.full((60, 120), 10, np.uint8)
    labels[30:] = 0
    labels[20:40, 50:53] = 5
    labels[25:35, :8] = labels[25:35, 110:] = 2
    labels[55:, 20:90] = IGNORE
    return labels
