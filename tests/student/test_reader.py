"""Samples from the store: the right arrays, in the right form, of the right size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.cache.codec import encode_features
from pipeline.cache.schema import ASSISTANT
from pipeline.errors import CacheError
from pipeline.student.reader import StoreReader

HEIGHT, WIDTH, CLASSES = 8, 16, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, (HEIGHT, WIDTH)).astype(np.uint8)
FEATURES = RNG.normal(0, 1, (5, 2, 4)).astype(np.float32)


class Arrays:
    """A store of one panorama, which notes what is read of it."""

    def __init__(self, features: npt.NDArray[np.float32] = FEATURES) -> None:
        codes, scale = encode_features(features)
        flags = (LABELS > 0).astype(np.uint8)
        self.assistant, self.ensemble = RNG.integers(0, 256, (2, CLASSES, HEIGHT, WIDTH)).astype(np.uint8)
        self._others: dict[str, npt.NDArray[Any]] = {
            "ensemble_labels": LABELS, "reliability": flags, "boundary": 1 - flags, "ignored": flags * 0,
            "unknown": 1 - flags,
            "features_2": codes, "features_2_scale": scale,
        }  # fmt: skip
        self.names: list[str] = []

    def read(self, product: str, panorama_id: str, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Probabilities of assistant and ensemble under whatever name they have."""
        self.names += names
        probabilities: npt.NDArray[Any] = self.assistant if product == ASSISTANT else self.ensemble
        named = dict.fromkeys(names, probabilities)
        return named | {name: self._others[name] for name in names if name in self._others}


def reader(store: Arrays, size: tuple[int, int] = (HEIGHT, WIDTH), **options: Any) -> StoreReader:
    def open_image(_: str) -> npt.NDArray[np.uint8]:
        return np.zeros((*size, 3), np.uint8)

    return StoreReader(store.read, open_image, **options)


def test_a_sample_has_what_the_store_has() -> None:
    store = Arrays()
    sample = reader(store)("street/1")
    assert sample.assistant_CHW is store.assistant
    assert sample.ensemble_CHW is store.ensemble
    np.testing.assert_array_equal(sample.reliable_HW, LABELS > 0)
    np.testing.assert_array_equal(sample.boundary_HW, LABELS == 0)
    assert not sample.ignored_HW.any() and sample.ignored_HW.dtype == np.bool_
    assert not sample.features and "ensemble_labels" not in store.names


def test_unknown_objects_are_ignored_where_that_is_asked_for() -> None:
    sample = reader(Arrays(), ignore_unknown=True)("street/1")
    np.testing.assert_array_equal(sample.ignored_HW, LABELS == 0)


def test_features_are_decoded_to_half_precision() -> None:
    features = reader(Arrays(), levels=(2,))("1").features[2]
    assert features.dtype == np.float16
    np.testing.assert_allclose(features, FEATURES, atol=0.02)


def test_features_too_large_for_half_precision_keep_their_direction() -> None:
    large = FEATURES * np.float32(1e6)
    features = reader(Arrays(large), levels=(2,))("1").features[2].astype(np.float32)
    assert np.isfinite(features).all()
    cosine = (features * large).sum() / np.linalg.norm(features) / np.linalg.norm(large)
    assert cosine > 0.999


def test_hard_targets_are_the_labels_with_probability_1() -> None:
    sample = reader(Arrays(), hard=True)("1")
    np.testing.assert_array_equal(sample.ensemble_CHW.argmax(axis=0), LABELS)
    assert set(np.unique(sample.ensemble_CHW)) == {0, 255}


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(CacheError, match=r"street/1 is 32x16, but 16x8 in the store"):
        reader(Arrays(), (16, 32))("street/1")
