"""Processes that train together: their parts, what they share, and how it ends when one is gone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributed

from pipeline.errors import CacheError, DeviceError, InputError, RecipeError
from stages.ranks import ALONE, Ranks, training_together


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The second of two processes, as torchrun starts it; what is done with their group, in order."""
    done: list[str] = []
    variables = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "init_process_group", done.append)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: done.append("left"))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    return done


def test_a_single_process_is_the_first_and_has_everything() -> None:
    assert (ALONE.is_first, ALONE.share("mine"), ALONE.gather(3)) == (True, "mine", [3])
    ALONE.require_same("anything")
    assert ALONE.part_of(5).is_whole
    with training_together("cpu") as (ranks, device):
        assert (ranks, device) == (ALONE, "cpu")


def test_parts_of_a_batch_go_by_rank_and_more_processes_than_panoramas_are_refused() -> None:
    parts = [Ranks(rank, 2).part_of(5) for rank in range(2)]
    assert [(part.start, part.stop, part.size) for part in parts] == [(0, 2, 5), (2, 5, 5)]
    with pytest.raises(RecipeError, match=r"batch_size is 2, but 3 processes .* Start fewer"):
        Ranks(0, 3).part_of(2)


def test_values_come_from_the_first_process_and_are_gathered_by_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def broadcast(values: list[Any], src: int) -> None:
        sent.append(values[0])
        values[0] = "of the first"

    def all_gather(values: list[Any], own: Any) -> None:
        values[:] = ["of the first", own]

    monkeypatch.setattr(distributed, "broadcast_object_list", broadcast)
    monkeypatch.setattr(distributed, "all_gather_object", all_gather)
    assert Ranks(1, 2).share("of the second") == Ranks(0, 2).share("of the first") == "of the first"
    assert sent == [None, "of the first"], "the others' values are not sent"
    assert Ranks(1, 2).gather("of the second") == ["of the first", "of the second"]
    Ranks(1, 2).require_same("of the first")
    with pytest.raises(CacheError, match="see different panoramas, caches or settings"):
        Ranks(1, 2).require_same("other")


def test_processes_that_torchrun_started_meet_and_leave(group: list[str]) -> None:
    with training_together("cpu") as (ranks, device):
        assert (ranks, device) == (Ranks(1, 2), "cpu") and not ranks.is_first
        assert group == ["gloo"]
    assert group == ["gloo", "left"]


def test_each_process_takes_the_gpu_of_its_number(group: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with training_together("cuda") as (_, device):
        assert device == "cuda:1" and chosen == ["cuda:1"] and group == ["nccl"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(InputError, match=r"has started process 1 on this machine, which has 1 GPUs?"),
        training_together("cuda"),
    ):
        pytest.fail("began")


@pytest.mark.parametrize("text", ["Connection closed by peer [127.0.0.1]:1", "... NCCL error: remote process exited"])
def test_where_another_process_is_gone_the_error_says_so(group: list[str], text: str) -> None:
    with pytest.raises(DeviceError, match="another process of this training has ended"), training_together("cpu"):
        raise RuntimeError(text)
    assert group == ["gloo", "left"]


def test_other_errors_stay_what_they_are(group: list[str]) -> None:
    with pytest.raises(RuntimeError, match="a shape"), training_together("cpu"):
        raise RuntimeError("a shape does not fit")
    assert group == ["gloo", "left"]
