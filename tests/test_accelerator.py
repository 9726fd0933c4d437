"""Work comes in batches that fit, and what is wrong with a device ends a run in one sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.accelerator import AdaptiveBatches, device_errors, is_device_error
from pipeline.errors import DeviceError, DeviceMemoryError, InputError


def fits_up_to(most: int, done: list[int]) -> Callable[[slice], list[int]]:
    """Work of which a GPU's memory holds so many units."""

    def work(piece: slice) -> list[int]:
        if piece.stop - piece.start > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        own = list(range(piece.start, piece.stop))
        done.extend(own)
        return own

    return work


@pytest.mark.parametrize(("count", "size", "most"), [(10, 4, 10), (10, 10, 3), (7, 64, 1), (5, 1, 1), (0, 4, 1)])
def test_every_unit_is_done_once_and_in_order_however_little_fits(count: int, size: int, most: int) -> None:
    done: list[int] = []
    batches = AdaptiveBatches("window", size)
    results = list(batches.map(count, fits_up_to(most, done)))
    assert done == [unit for own in results for unit in own] == list(range(count))
    assert batches.is_shrunk == (min(size, count) > most)


def test_once_halved_stays_halved() -> None:
    batches = AdaptiveBatches("window", 8)
    list(batches.map(8, fits_up_to(3, [])))
    assert [len(own) for own in batches.map(8, fits_up_to(8, []))] == [2, 2, 2, 2]


def test_heavier_units_come_in_smaller_pieces_but_never_in_none() -> None:
    batches = AdaptiveBatches("mask", 100)
    for weight, length in ((10, 10), (30, 3), (1000, 1)):
        assert len(next(batches.map(20, fits_up_to(20, []), weight))) == length


def test_one_unit_that_does_not_fit_is_reported_in_one_sentence() -> None:
    with pytest.raises(DeviceMemoryError, match=r"one prompt does not fit .* --device cpu"):
        list(AdaptiveBatches("prompt", 4).map(4, fits_up_to(0, [])))


def test_too_little_memory_is_reported_in_one_sentence() -> None:
    expected = r"memory is too small \(CUDA out of memory.* take less.* --device cpu"
    with pytest.raises(DeviceMemoryError, match=expected), device_errors("take less"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")


def test_a_device_that_failed_is_reported_in_one_sentence() -> None:
    expected = r"device has failed \(CUDA error: an illegal memory access"
    with pytest.raises(DeviceError, match=expected), device_errors("take less"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might ...")


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), InputError("a", "b", "c"), ValueError("CUDA error")])
def test_other_errors_pass(error: Exception) -> None:
    assert not is_device_error(error)
    with pytest.raises(type(error)) as caught, device_errors("take less"):
        raise error
    assert caught.value is error
