"""What is worked on at once follows the memory that there is, and halves where the estimate was too bold."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from pipeline.errors import DeviceMemoryError
from pipeline.teacher.generator import memory
from pipeline.teacher.generator.memory import GIB, Pieces, capacity


@pytest.fixture(scope="module")
def vit_b() -> Sam:
    with torch.device("meta"):  # sizes without memory
        return sam_model_registry["vit_b"]()


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
    pieces = Pieces("window", size)
    results = list(pieces.of(count, fits_up_to(most, done)))
    assert done == [unit for own in results for unit in own] == list(range(count))
    assert pieces.is_shrunk == (min(size, count) > most)


def test_once_halved_stays_halved() -> None:
    pieces = Pieces("window", 8)
    list(pieces.of(8, fits_up_to(3, [])))
    assert [len(own) for own in pieces.of(8, fits_up_to(8, []))] == [2, 2, 2, 2]


def test_heavier_units_come_in_smaller_pieces_but_never_in_none() -> None:
    pieces = Pieces("mask", 100)
    for weight, length in ((10, 10), (30, 3), (1000, 1)):
        assert len(next(pieces.of(20, fits_up_to(20, []), weight))) == length


def test_one_unit_that_does_not_fit_is_told_in_one_sentence() -> None:
    with pytest.raises(DeviceMemoryError, match=r"one prompt does not fit .* --device cpu"):
        list(Pieces("prompt", 4).of(4, fits_up_to(0, [])))


def test_the_estimate_grows_with_memory_from_one_to_what_fills_a_gpu(vit_b: Sam) -> None:
    rooms = [capacity(vit_b, torch.float32, gib, 1024) for gib in (1e-3, 1, 4, 16, 64, 1000)]
    assert rooms[0][0] == rooms[0][2] == 1
    assert rooms[-1] == (16, 1 << 28, 256, 256 * 1024 * 1024)
    for smaller, larger in itertools.pairwise(rooms):
        assert all(one <= other for one, other in zip(smaller, larger, strict=True))
    assert all(room.windows & (room.windows - 1) == 0 and room.prompts & (room.prompts - 1) == 0 for room in rooms)


def test_half_precision_makes_room_for_more(vit_b: Sam) -> None:
    single, half = (capacity(vit_b, precision, 2, 256) for precision in (torch.float32, torch.bfloat16))
    assert half.prompts == 2 * single.prompts
    assert half.windows > single.windows


def test_unless_told_half_of_what_is_free_is_used(vit_b: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 8 * GIB)
    assert memory._free_memory(torch.device("cuda")) == 2 * GIB
