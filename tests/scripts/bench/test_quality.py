"""Windows of the built-in world, and how much masks overlap."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.teacher.masks import MaskSet
from scripts.bench.quality import best_overlaps, street_windows


@pytest.mark.slow
def test_windows_come_from_as_few_panoramas_as_there_must_be() -> None:
    windows = street_windows(9)
    assert len(windows) == 9
    assert np.array_equal(windows[0], street_windows(1)[0])
    assert len({window.tobytes() for window in windows}) == 9


def test_overlaps_are_those_with_the_most_similar_mask() -> None:
    flags = np.zeros((2, 4, 4), np.bool_)
    flags[0, :2], flags[1, :1] = True, True
    assert best_overlaps(MaskSet.from_dense(flags[:1]), MaskSet.from_dense(flags)).tolist() == [1.0]
    assert best_overlaps(MaskSet.from_dense(flags), MaskSet.from_dense(flags[:1])).tolist() == [1.0, 0.5]
    assert best_overlaps(MaskSet.from_dense(flags), MaskSet.from_dense(flags[:0])).tolist() == [0.0, 0.0]


def test_masks_without_others_and_without_masks_have_no_overlap() -> None:
    none = MaskSet.from_dense(np.zeros((0, 4, 4), np.bool_))
    assert best_overlaps(none, none).shape == (0,)
    apart = np.zeros((2, 4, 4), np.bool_)
    apart[0, 0, 0] = apart[1, 3, 3] = True
    assert best_overlaps(MaskSet.from_dense(apart[:1]), MaskSet.from_dense(apart[1:])).tolist() == [0.0]
