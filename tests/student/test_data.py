from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.cache.codec import decode_probabilities, encode_features
from pipeline.cache.schema import ASSISTANT, ENSEMBLE
from pipeline.cache.store import TeacherStore
from pipeline.classes import IGNORE
from pipeline.errors import CacheError, InputError
from pipeline.student.config import DistillConfig
from pipeline.student.data import TrainingSet, cached_by_bytes, read_ahead
from pipeline.student.epochs import shuffled
from pipeline.student.pooling import PooledSample, pool
from pipeline.student.reader import StoreReader
from pipeline.student.sample import PanoramaSample
from tests.student.toy import HEIGHT, WIDTH, read_toy, toy_sample

IDS = ("0", "1", "2", "3", "4")
CONFIG = DistillConfig(batch_size=2)


def test_batch_of_a_step_is_a_function_of_seed_and_step() -> None:
    first, later = (
        TrainingSet(IDS, read_toy, CONFIG, stride=4, seed=3),
        TrainingSet(IDS, read_toy, CONFIG, stride=4, seed=3),
    )
    for step in range(4):
        first.batch(step)
    a, b = first.batch(7), later.batch(7)
    assert torch.equal(a.image_BHW3, b.image_BHW3)
    assert torch.equal(a.colours_B3, b.colours_B3)
    assert not torch.equal(a.image_BHW3, TrainingSet(IDS, read_toy, CONFIG, stride=4, seed=4).batch(7).image_BHW3)


def test_every_epoch_has_every_panorama_once_in_another_order() -> None:
    orders = [shuffled(50, 0, epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_crops_are_not_whole() -> None:
    config = DistillConfig(batch_size=1, crop_width=32)
    batch = TrainingSet(IDS, read_toy, config, 1, 0).batch(0)
    assert batch.image_BHW3.shape == (1, HEIGHT, 32, 3)
    assert batch.assistant_BChw.shape == (1, 3, HEIGHT, 32)
    assert batch.features[4].shape[-1] == 1
    assert not batch.whole
    assert TrainingSet(IDS, read_toy, CONFIG, 1, 0).batch(0).whole


def test_unreadable_panoramas_are_set_aside_and_replaced() -> None:
    reads: list[str] = []

    def read(panorama_id: str) -> PanoramaSample:
        reads.append(panorama_id)
        if panorama_id == "2":
            raise InputError("2.jpg is broken", "an image", "Replace it")
        return read_toy(panorama_id)

    data = TrainingSet(IDS, read, DistillConfig(batch_size=1, sample_memory_gb=0), stride=4, seed=0)
    for step in range(15):
        data.batch(step)
    assert list(data.failed) == ["2"]
    assert "2.jpg is broken" in data.failed["2"]
    assert reads.count("2") == 1


def test_a_set_that_cannot_be_read_at_all_is_refused() -> None:
    def read(panorama_id: str) -> PanoramaSample:
        raise InputError(f"{panorama_id} is broken", "an image", "Replace it")

    with pytest.raises(CacheError, match=r"no panorama can be read .* is broken"):
        TrainingSet(IDS, read, CONFIG, stride=4, seed=0).batch(0)


def test_remembered_samples_are_read_once_while_they_fit() -> None:
    reads: list[str] = []

    def read(panorama_id: str) -> PooledSample:
        reads.append(panorama_id)
        return pool(read_toy(panorama_id), 4)

    two = cached_by_bytes(read, 2 * pool(toy_sample(0), 4).nbytes)
    for panorama_id in ("0", "1", "0", "1", "2", "1", "0"):
        two(panorama_id)
    assert reads == ["0", "1", "2", "0"]


@pytest.mark.parametrize("threads", [1, 4])
def test_reading_ahead_keeps_the_order_and_stops_when_closed(threads: int) -> None:
    loaded: list[int] = []

    def load(step: int) -> int:
        loaded.append(step)
        return step

    assert list(read_ahead(load, range(3, 9), threads)) == [3, 4, 5, 6, 7, 8]
    loaded.clear()
    batches = read_ahead(load, range(1000), threads=threads)
    assert next(batches) == 0
    batches.close()
    assert max(loaded) <= threads + 1
    assert not any(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_batches_read_by_several_threads_are_those_of_one() -> None:
    """With room for two samples, so that they are dropped and read again while others are at work."""
    config = dataclasses.replace(CONFIG, sample_memory_gb=2 * pool(toy_sample(0), 4).nbytes / 1e9)
    one, four = (
        list(read_ahead(TrainingSet(IDS, read_toy, config, stride=4, seed=3).batch, range(40), threads))
        for threads in (1, 4)
    )
    assert all(torch.equal(a.image_BHW3, b.image_BHW3) for a, b in zip(one, four, strict=True))


def test_an_error_while_reading_ahead_is_raised_at_its_step() -> None:
    def load(step: int) -> int:
        return 1 // (step - 2)

    batches = read_ahead(load, range(5))
    assert [next(batches), next(batches)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def store_of(folder: Path, sample: PanoramaSample) -> TeacherStore:
    """A store that holds the sample as street/1."""
    store = TeacherStore.open(folder / "teacher.zarr", "a")
    codes, scale = encode_features(sample.features[2].astype(np.float32))
    labels_HW = np.where(sample.ignored_HW, IGNORE, sample.ensemble_CHW.argmax(axis=0)).astype(np.uint8)
    store.write(ASSISTANT, "a1", "street/1", {
        "assistant_probabilities": sample.assistant_CHW,
        "features_2": codes, "features_2_scale": scale}, {})  # fmt: skip
    store.write(ENSEMBLE, "e1", "street/1", {
        "ensemble_probabilities": sample.ensemble_CHW, "ensemble_labels": labels_HW,
        "reliability": sample.reliable_HW.astype(np.uint8),
        "boundary": sample.boundary_HW.astype(np.uint8), "ignored": sample.ignored_HW.astype(np.uint8),
    }, {})  # fmt: skip
    return TeacherStore.open(folder / "teacher.zarr", "r")


def reads(store: TeacherStore) -> Callable[..., Any]:
    """Reads arrays of street/1 from the store."""
    fingerprints = {ASSISTANT: "a1", ENSEMBLE: "e1"}
    return lambda product, panorama_id, names: store.read(product, fingerprints[product], panorama_id, names)


def test_samples_come_out_of_the_store_as_stage_one_put_them_in(tmp_path: Path) -> None:
    sample = toy_sample(5, levels=(2,))
    store = store_of(tmp_path, sample)
    reader = StoreReader(reads(store), lambda _: sample.image_HW3, (2,))
    read = reader("street/1")
    for name in ("image_HW3", "assistant_CHW", "ensemble_CHW", "reliable_HW", "boundary_HW", "ignored_HW"):
        np.testing.assert_array_equal(getattr(read, name), getattr(sample, name))
        assert getattr(read, name).dtype == getattr(sample, name).dtype
    np.testing.assert_allclose(read.features[2], sample.features[2], atol=0.02)
    hard = dataclasses.replace(reader, hard=True)("street/1")
    labels_HW = sample.ensemble_CHW.argmax(axis=0)
    np.testing.assert_array_equal(decode_probabilities(hard.ensemble_CHW).argmax(axis=0)[:-1], labels_HW[:-1])
    np.testing.assert_array_equal(hard.ensemble_CHW.sum(axis=0, dtype=int), np.where(sample.ignored_HW, 0, 255))
    smaller = StoreReader(reads(store), lambda _: sample.image_HW3[:, : WIDTH // 2])
    with pytest.raises(CacheError, match=f"is {WIDTH // 2}x{HEIGHT}"):
        smaller("street/1")


def test_features_beyond_half_precision_keep_their_direction(tmp_path: Path) -> None:
    sample = toy_sample(5, levels=(2,))
    large = {2: sample.features[2].astype(np.float32) * 1e6}
    store = store_of(tmp_path, dataclasses.replace(sample, features=large))
    reader = StoreReader(reads(store), lambda _: sample.image_HW3, (2,))
    read, wanted = reader("street/1").features[2].astype(np.float32), sample.features[2].astype(np.float32)
    cosine = (read * wanted).sum(0) / np.linalg.norm(read, axis=0) / np.linalg.norm(wanted, axis=0)
    assert cosine.min() > 0.999


def test_a_set_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no panoramas"):
        TrainingSet([], read_toy, DistillConfig(), stride=4, seed=0)
