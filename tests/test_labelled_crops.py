"""Random crops of labelled pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.labelled_crops import random_crop


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose red is its label: two fields, left 40 and right 90."""
    labels = np.full((height, width), 40, np.uint8)
    labels[:, width // 2 :] = 90
    image = np.stack([labels, np.full_like(labels, 7), np.full_like(labels, 9)], axis=-1)
    return image, labels


@pytest.mark.parametrize("size", [(100, 200), (20, 300), (10, 10), (64, 64)])
def test_picture_and_labels_move_together_and_nothing_is_labelled_beside_the_picture(size: tuple[int, int]) -> None:
    image, labels = picture(*size)
    for seed in range(20):
        crop, of_crop = random_crop(image, labels, 64, np.random.default_rng(seed))
        assert crop.shape == (64, 64, 3) and of_crop.shape == (64, 64)
        assert set(np.unique(of_crop)) <= {40, 90, 255}
        outside = of_crop == 255
        known = ~outside & (crop[..., 1] == 7)  # not blended with the black beside the picture
        assert (np.abs(crop[..., 0].astype(int) - of_crop)[known] <= 10).mean() > 0.8  # fields blend
        assert (crop[..., 1][outside] < 7).mean() > 0.5 if outside.any() else True


def test_the_same_generator_gives_the_same_crop_and_others_differ() -> None:
    image, labels = picture(100, 200)
    image[..., 2] = np.arange(200)
    crops = [random_crop(image, labels, 32, np.random.default_rng(seed))[0] for seed in (0, 0, 1, 2)]
    assert (crops[0] == crops[1]).all()
    assert not (crops[0] == crops[2]).all() and not (crops[2] == crops[3]).all()
