"""Holes and islands are those that labelling the whole image finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import remove_small_regions

from pipeline.teacher.generator.small_regions import clean_mask
from pipeline.teacher.masks import tight


@settings(max_examples=60)
@given(
    st.integers(0, 2**31), st.tuples(st.integers(1, 24), st.integers(1, 24)), st.floats(0.02, 0.98), st.integers(1, 40)
)
def test_changed_masks_are_those_of_the_whole_image(seed: int, size: tuple[int, int], share: float, area: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random(((size[0] + 1) // 2, (size[1] + 1) // 2)) < share, np.ones((2, 2)))[: size[0], : size[1]]
    mask = mask.astype(np.bool_)
    mask[:, : rng.integers(size[1])] = False
    mask[rng.integers(size[0]) :] = False
    filled, has_filled = remove_small_regions(mask, area, "holes")
    expected, has_cleared = remove_small_regions(filled, area, "islands")
    found = clean_mask(*tight(mask), size, area)
    (y0, x0, y1, x1), inside = tight(expected)
    assert found.box == (y0, x0, y1, x1)
    np.testing.assert_array_equal(found.bitmap, inside)
    assert found.changed == (has_filled or has_cleared)
