"""The loop of every training: exact resuming, no checkpoint of weights that are no numbers, and what it tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.errors import GoodSAMError
from pipeline.student.config import DistillConfig
from stages.checkpoints import load_checkpoint, save_checkpoint
from stages.events import Event, ItemFailed, Note, Scalars, StageAdvanced, silent
from stages.training_loop import TrainingLoop


def toy_loop(folder: Path, diverges_at: int = -1) -> tuple[TrainingLoop[int], torch.nn.Linear]:
    """A layer that learns from noise that the step's seed decides."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW([{"params": list(layer.parameters()), "peak": 0.1}])

    def step(batch: int) -> dict[str, Tensor]:
        loss = layer(torch.rand(2, 3)).square().mean() * (float("nan") if batch == diverges_at else batch + 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"total": loss}

    config = DistillConfig(steps=7, warmup_steps=1, checkpoint_every=3, log_every=2)
    parts = {"layer": layer, "optimizer": optimizer}
    loop = TrainingLoop("toy", config, 1, optimizer, parts, lambda number: number, step, folder / "checkpoint.pt",
                        "name", "Be careful", set_aside={"gone": "it is not there"})  # fmt: skip
    return loop, layer


def kill_at_step_5(folder: Path) -> None:
    """Begin a training that dies after the checkpoint of step 3."""

    def kill(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == 5:
            raise KeyboardInterrupt

    killed, _ = toy_loop(folder)
    with pytest.raises(KeyboardInterrupt):
        killed.run(killed.resume(silent), kill)


def test_a_killed_training_ends_with_the_weights_that_it_would_have_had(tmp_path: Path) -> None:
    whole, expected = toy_loop(tmp_path / "whole")
    assert whole.run(whole.resume(silent), silent).steps == 7

    kill_at_step_5(tmp_path / "killed")
    resumed, found = toy_loop(tmp_path / "killed")
    events = list[Event]()
    assert resumed.run(resumed.resume(events.append), events.append).set_aside == {"gone": "it is not there"}
    assert torch.equal(found.weight, expected.weight) and torch.equal(found.bias, expected.bias)
    assert Note("toy", "resuming from step 3 of 7") in events
    assert [event.step for event in events if isinstance(event, Scalars)] == [4, 6, 7]
    assert [event.item for event in events if isinstance(event, ItemFailed)] == ["gone"], "once"


def test_a_resumed_training_tells_the_losses_that_it_would_have_told(tmp_path: Path) -> None:
    whole, _ = toy_loop(tmp_path / "whole")
    expected = list[Event]()
    losses = whole.run(whole.resume(silent), expected.append).losses

    kill_at_step_5(tmp_path / "killed")
    resumed, _ = toy_loop(tmp_path / "killed")
    events = list[Event]()
    assert resumed.run(resumed.resume(events.append), events.append).losses == losses
    assert [e for e in events if isinstance(e, Scalars)] == [e for e in expected if isinstance(e, Scalars)][1:]


def test_checkpoints_of_before_that_know_no_means_are_resumed(tmp_path: Path) -> None:
    loop, _ = toy_loop(tmp_path)
    loop.run(loop.resume(silent), silent)
    state = load_checkpoint(tmp_path / "checkpoint.pt", "name")
    assert state is not None
    del state["progress"]["running"]
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert loop.resume(silent).steps == 7


def test_weights_after_a_loss_that_is_no_number_are_never_saved(tmp_path: Path) -> None:
    loop, _ = toy_loop(tmp_path, diverges_at=4)
    with pytest.raises(GoodSAMError, match=r"total became NaN .*Be careful; the last checkpoint was not changed"):
        loop.run(loop.resume(silent), silent)
    state = load_checkpoint(tmp_path / "checkpoint.pt", "name")
    assert state is not None and state["progress"]["steps"] == 3
    assert torch.isfinite(state["layer"]["weight"]).all()


def test_checkpoints_of_other_networks_are_not_loaded(tmp_path: Path) -> None:
    loop, _ = toy_loop(tmp_path)
    loop.run(loop.resume(silent), silent)
    assert loop.resume(silent).steps == 7
    object.__setattr__(loop, "name", "another")
    assert loop.resume(silent).steps == 0
