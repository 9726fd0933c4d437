"""The stock generator's records from boxes and bitmaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from pipeline.teacher.generator.proposals import Proposals, stock_records
from pipeline.teacher.masks import MaskSet


def proposed(masks_Mhw: npt.NDArray[np.bool_]) -> Proposals:
    masks = MaskSet.from_dense(masks_Mhw)
    return Proposals(masks, np.zeros((len(masks), 2)), np.zeros((len(masks), 4), np.int64))


def scene(seed: int, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Nothing, everything, one pixel, full columns, full rows, noise in a part."""
    rng = np.random.default_rng(seed)
    masks_Mhw = np.zeros((6, height, width), np.bool_)
    y, x = rng.integers(height), rng.integers(width)
    masks_Mhw[1] = True
    masks_Mhw[2, y, x] = True
    masks_Mhw[3, :, x:] = True
    masks_Mhw[4, y:] = True
    masks_Mhw[5, y:, : x + 1] = rng.random((height - y, x + 1)) < 0.5
    return masks_Mhw


@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(1, 20))
def test_masks_are_arrays_of_the_images_size_with_their_areas(seed: int, height: int, width: int) -> None:
    masks_Mhw = scene(seed, height, width)
    for record, mask_hw in zip(stock_records(proposed(masks_Mhw)), masks_Mhw, strict=True):
        np.testing.assert_array_equal(record["segmentation"], mask_hw)
        assert record["area"] == mask_hw.sum()
