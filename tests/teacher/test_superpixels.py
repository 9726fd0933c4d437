"""Superpixels as a source of masks."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.teacher.mask_source import MaskSource
from pipeline.teacher.superpixels import Superpixels, is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="scikit-image is not installed")


def test_superpixels_cover_every_image_once_and_follow_its_colours() -> None:
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, 32:] = (250, 120, 10)
    plain = np.full((32, 32, 3), 90, np.uint8)
    source: MaskSource = Superpixels()
    of_half, of_plain = source.many([half, plain])
    for masks, image in ((of_half, half), (of_plain, plain)):
        assert (masks.height, masks.width) == image.shape[:2]
        assert (masks.dense().sum(axis=0) == 1).all()
    assert len(of_plain) == 1
    for mask in of_half.dense():
        left, right = mask[:, :28].sum(), mask[:, 36:].sum()
        assert left == 0 or right == 0
    assert source.notes == () and "felzenszwalb" in source.identity
