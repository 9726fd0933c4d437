"""What is worked on at once follows the memory that there is, and halves where the estimate was too bold."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from pipeline.teacher.generator import memory
from pipeline.teacher.generator.memory import GIB, capacity


@pytest.fixture(scope="module")
def vit_b() -> Sam:
    with torch.device("meta"):  # sizes without memory
        return sam_model_registry["vit_b"]()


def test_the_estimate_grows_with_memory_from_one_to_what_fills_a_gpu(vit_b: Sam) -> None:
    rooms = [capacity(vit_b, torch.float32, gib, 1024) for gib in (1e-3, 1, 4, 16, 64, 1000)]
    assert rooms[0][0] == rooms[0][2] == 1
    assert rooms[-1] == (16, 1 << 28, 1024, 256 * 1024 * 1024)
    for smaller, larger in itertools.pairwise(rooms):
        assert all(one <= other for one, other in zip(smaller, larger, strict=True))
    assert all(room.windows & (room.windows - 1) == 0 and room.prompts & (room.prompts - 1) == 0 for room in rooms)


def test_half_precision_makes_room_for_more(vit_b: Sam) -> None:
    single, half = (capacity(vit_b, precision, 2, 256) for precision in (torch.float32, torch.bfloat16))
    assert half.prompts == 2 * single.prompts
    assert half.windows > single.windows


def test_encoders_that_do_not_tell_their_width_get_less_at_once(vit_b: Sam) -> None:
    without = copy.deepcopy(vit_b)
    without.image_encoder.pos_embed = None
    told, untold = (capacity(sam, torch.float32, 2, 256) for sam in (vit_b, without))
    assert 1 < untold.windows < told.windows
    assert untold[1:] == told[1:]


def test_unless_told_half_of_what_is_free_is_used(vit_b: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 8 * GIB)
    assert memory.free_memory(torch.device("cuda")) == 2 * GIB
