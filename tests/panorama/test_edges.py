"""Edges of label maps: pixels that differ from a neighbour, over the seam too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.panorama.edges import label_edges

RIGHT_OR_BELOW = ((0, 1), (1, 0))
ALL_FOUR = (*RIGHT_OR_BELOW, (0, -1), (-1, 0))


@pytest.mark.parametrize("both_sides", [True, False])
@pytest.mark.parametrize("wrap", [True, False])
@settings(max_examples=20)
@given(st.integers(0, 2**16))
def test_edges_are_pixels_that_differ_from_a_neighbour(wrap: bool, both_sides: bool, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 3, (5, 6)).astype(np.uint8)
    edges = label_edges(labels, wrap, both_sides)
    for (y, x), label in np.ndenumerate(labels):
        neighbours = [(y + down, x + right) for down, right in (ALL_FOUR if both_sides else RIGHT_OR_BELOW)]
        inside = [(v, u % 6) for v, u in neighbours if 0 <= v < 5 and (wrap or 0 <= u < 6)]
        assert edges[y, x] == any(labels[v, u] != label for v, u in inside)


@pytest.mark.parametrize("both_sides", [True, False])
@pytest.mark.parametrize("columns", [-3, 5])
def test_edges_of_a_panorama_roll_with_it(both_sides: bool, columns: int) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (5, 8))
    rolled = label_edges(np.roll(labels, columns, axis=1), wrap=True, both_sides=both_sides)
    np.testing.assert_array_equal(rolled, np.roll(label_edges(labels, True, both_sides), columns, axis=1))


def test_a_uniform_map_has_no_edge() -> None:
    assert not label_edges(np.ones((4, 8), np.uint8), wrap=True).any()
