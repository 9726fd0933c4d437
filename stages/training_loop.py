"""The loop of every training: step after step, with what is logged, checked, saved and told of them.

A killed training goes on from its last checkpoint and ends with the weights that it would have had anyway: the batch of
step k and all that is random in the step are functions of (seed, k) alone, so a checkpoint has all the state there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pipeline.student.config import DistillConfig
from pipeline.student.data import read_ahead
from pipeline.student.meter import LossMeter
from pipeline.student.schedule import set_learning_rates
from stages.checkpoints import load_checkpoint, save_checkpoint
from stages.events import ItemFailed, Listener, Note, Scalars, StageAdvanced, StageStarted
from stages.progress import Progress
from stages.ranks import ALONE, Ranks

Batch = TypeVar("Batch")
Parts = Mapping[str, nn.Module | Optimizer]
"""What learns and what makes it learn, by the names that they have in the checkpoint."""
_STREAM = 2
"""Tells the seeds of steps from those of the order of samples (0), of augmentations (1) and of crops (3)."""


def state_of(parts: Parts) -> dict[str, Any]:
    """Their states, for a checkpoint."""
    return {name: part.state_dict() for name, part in parts.items()}


def load_parts(parts: Parts, state: Mapping[str, Any]) -> None:
    """Put them into the states of a checkpoint, which another kind of device may have written."""
    for name, part in parts.items():
        saved = state[name]
        if isinstance(part, Optimizer):  # `fused` decides where steps are counted
            groups = zip(saved["param_groups"], part.param_groups, strict=True)
            saved = {**saved, "param_groups": [{**group, "fused": own["fused"]} for group, own in groups]}
        part.load_state_dict(saved)


@dataclass(frozen=True)
class TrainingLoop(Generic[Batch]):
    """A training, step by step."""

    stage: str
    """Name of its stage, in events."""
    schedule: DistillConfig
    """Number of steps, learning rates, and how often losses are logged and checkpoints written."""
    seed: int
    """Seed of what is random in the network, dropout for instance."""
    optimizer: Optimizer
    """Its groups carry their peak learning rate under `peak`."""
    parts: Parts
    """What a checkpoint has; the optimiser is among them."""
    batch: Callable[[int], Batch]
    """Makes the batch of a step; called ahead of the steps, in other threads."""
    step: Callable[[Batch], Mapping[str, Tensor]]
    """Does a step of the optimiser on a batch, and gives the losses as tensors on the device: nothing waits for them
    before they are logged."""
    checkpoint: Path
    """File of the latest checkpoint."""
    name: str
    """Names the network that comes out; checkpoints of others are not loaded."""
    remedy: str
    """What to do where a loss is no longer finite, for the error."""
    readers: int = 1
    """Threads that make batches."""
    set_aside: dict[str, str] = field(default_factory=dict[str, str])
    """What could not be read so far, with the reason; who makes batches adds to it."""
    ranks: Ranks = ALONE
    """The processes that train together; the first one writes."""
    is_examined: Callable[[int], bool] = lambda _: False
    """Whether the network is examined after so many steps."""
    examine: Callable[[Progress], Progress] = lambda progress: progress
    """Examines it, in the first process; gives the progress with what was found."""

    def resume(self, listener: Listener) -> Progress:
        """Load the latest checkpoint, if there is one; any number of processes may have written it."""
        state = self.ranks.share(load_checkpoint(self.checkpoint, self.name) if self.ranks.is_first else None)
        if state is None:
            return Progress()
        load_parts(self.parts, state)
        progress = Progress(**state["progress"])
        listener(Note(self.stage, f"resuming from step {progress.steps} of {self.schedule.steps}"))
        return progress

    def run(self, before: Progress, listener: Listener) -> Progress:
        """Do the steps that are still to be done after `before`.

        Raises:
            GoodSAMError: a loss is no longer finite, a batch cannot be made, or there is no room for a checkpoint.
        """
        config, meter, progress = self.schedule, LossMeter(self.remedy, before.running), before
        steps = range(before.steps, config.steps)
        listener(StageStarted(self.stage, len(steps), "steps"))
        told = self._tell_of_set_aside(set(), listener)
        with closing(read_ahead(self.batch, steps, self.readers)) as batches:
            for step, batch in zip(steps, batches, strict=True):
                began = time.monotonic()
                rate = set_learning_rates(self.optimizer, step, config)
                torch.manual_seed(seed_of_step(self.seed, step))
                meter.add(step, self.step(batch))
                done = step + 1
                is_last = done == config.steps
                if done % config.log_every == 0 or is_last:
                    means = meter.read()
                    progress = replace(progress, losses={**progress.losses, **means})
                    listener(Scalars(self.stage, done, {**means, "learning_rate": rate}))
                is_saved = done % config.checkpoint_every == 0 or is_last
                if is_saved or self.is_examined(done):
                    meter.check()
                    for of_process in self.ranks.gather(self.set_aside):
                        self.set_aside.update(of_process)
                    set_aside = {**before.set_aside, **self.set_aside}
                    progress = replace(progress, steps=done, set_aside=set_aside, running=meter.counted)
                if self.ranks.is_first and self.is_examined(done):
                    progress = self.examine(progress)
                if self.ranks.is_first and is_saved:
                    state = {"student": self.name, "progress": asdict(progress), **state_of(self.parts)}
                    save_checkpoint(self.checkpoint, state)
                told = self._tell_of_set_aside(told, listener)
                listener(StageAdvanced(self.stage, done - before.steps, f"step {done}", time.monotonic() - began))
        return progress

    def _tell_of_set_aside(self, told: set[str], listener: Listener) -> set[str]:
        """Tell of what was set aside since, and return all that was."""
        known = dict(self.set_aside)  # readers may add to it meanwhile
        for item in known.keys() - told:
            listener(ItemFailed(self.stage, item, known[item]))
        return set(known)


def seed_of_step(seed: int, step: int) -> int:
    """Seed of what is random inside the network at `step`."""
    return int(np.random.SeedSequence((seed, _STREAM, step)).generate_state(1, np.uint64)[0])
