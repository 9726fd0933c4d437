"""Trains the embedded demo SAM on rendered street scenes.

    python -m scripts.demo_data --kind windows --count 1600 --out data/sam/windows
    python -m scripts.demo_data --kind views --count 4800 --out data/sam/views
    python -m scripts.demo_data --kind windows --count 64 --split validation --out data/sam/val
    python -m scripts.train_demo_sam --data data/sam/windows data/sam/views --validation data/sam/val --minutes 60
    python -m scripts.evaluate_demo_sam --windows data/sam/val

Each process works on one core; `torchrun --nproc-per-node 2 -m scripts.train_demo_sam ...` shares every step among two,
each with a batch of its own, out of its own half of the shards.

The schedule runs on the wall clock: `--minutes` is the length of the training, whatever the machine. A killed run goes
on from its last checkpoint. The network learns to answer one point with the nested masks around it: its part, its
object, and the region of its class; output k always means level k, so no answer is ambiguous.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from scripts.demo_data import Batch, load_shards
from scripts.demo_sam_examples import Example, make_example
from scripts.demo_sam_network import (
    AFFINITY,
    CLASSES,
    SamWithAuxiliaryHead,
    affinity_loss,
    auxiliary_loss,
    images_of,
    iou_of,
    point_loss,
    speed_up_global_attention,
    targets_of,
)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the training goes; recorded in the model card."""

    minutes: float
    batch_size: int = 8
    """Images per step and process."""
    learning_rate: float = 1e-3
    muon_rate: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 60
    ema: float = 0.998

    def rate_factor(self, step: int, seconds: float) -> float:
        """Linear warm-up over the first steps, then cosine decay over the wall clock, to 2 %."""
        share = min(seconds / (60 * self.minutes), 1.0)
        return min((step + 1) / self.warmup, 1.0) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def optimisers(trainee: SamWithAuxiliaryHead, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the encoder, AdamW for everything else."""
    matrices, rest = [], []
    for name, parameter in trainee.named_parameters():
        if not parameter.requires_grad or "mask_downscaling" in name:
            continue
        inner = parameter.ndim == 2 and ".blocks." in name and "rel_pos" not in name
        (matrices if inner else rest).append(parameter)
    muon = torch.optim.Muon(
        matrices, lr=schedule.muon_rate, weight_decay=schedule.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(rest, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
    for optimiser in (muon, adamw):
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return [muon, adamw]


@dataclass
class State:
    """All that a killed run needs to go on."""

    trainee: SamWithAuxiliaryHead
    average: SamWithAuxiliaryHead
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write, then rename: a kill leaves the previous checkpoint."""
        partial_path = path.with_suffix(".partial")
        torch.save({"trainee": self.trainee.state_dict(), "average": self.average.state_dict(),
                    "optimisers": [o.state_dict() for o in self.optimisers],
                    "step": self.step, "seconds": self.seconds, "history": self.history}, partial_path)  # fmt: skip
        partial_path.rename(path)

    def begin_with(self, path: Path) -> None:
        """Take published weights, and start the auxiliary head, which is not published, anew; or take all of a
        checkpoint, but its schedule."""
        saved = torch.load(path, weights_only=True)
        if "trainee" in saved:
            self._take(saved["average"], saved)
            return
        for network in (self.trainee, self.average):
            network.sam.load_state_dict(saved)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        saved = torch.load(path, weights_only=True)
        self._take(saved["trainee"], saved)
        self.step, self.seconds, self.history = saved["step"], saved["seconds"], saved["history"]

    def _take(self, trainee: dict[str, torch.Tensor], saved: dict[str, Any]) -> None:
        self.trainee.load_state_dict(trainee)
        self.average.load_state_dict(saved["average"])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            peaks = [group["peak"] for group in optimiser.param_groups]
            optimiser.load_state_dict(state)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["peak"] = peak


def start(schedule: Schedule) -> State:
    """Random weights, their running average, and optimisers."""
    torch.manual_seed(0)
    trainee = SamWithAuxiliaryHead()
    average = copy.deepcopy(trainee).requires_grad_(False)
    speed_up_global_attention(average.sam)
    return State(trainee, average, optimisers(trainee, schedule))


def train_step(state: State, examples: list[Example], schedule: Schedule) -> dict[str, float]:
    """One step of both optimisers; returns the losses."""
    factor = schedule.rate_factor(state.step, state.seconds)
    trainee = state.trainee
    embedding = trainee.embed(images_of(examples))
    pixels = trainee.predict_pixels(embedding)
    auxiliary_logits, embedded = pixels.split([CLASSES + 2, 3 * AFFINITY], dim=1)
    points_BN2 = torch.from_numpy(np.stack([e.points_N2 for e in examples]))
    logits, predicted = trainee.predict_masks(embedding, points_BN2)
    totals = torch.zeros(4)
    for one in zip(logits.unbind(), predicted.unbind(), embedded.unbind(), points_BN2, examples, strict=True):
        logits_N4hw, iou_N4, embedded_Chw, points_N2, example = one
        targets = targets_of(example)
        losses = point_loss(logits_N4hw, iou_N4, targets)
        near = affinity_loss(embedded_Chw, points_N2, targets)
        totals = totals + torch.stack((*losses, near)) / len(examples)
    auxiliary = auxiliary_loss(auxiliary_logits, examples)
    (totals[0] + totals[1] + 0.5 * totals[3] + 0.3 * auxiliary).backward()
    average_gradients(trainee)
    nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
    for optimiser in state.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        optimiser.step()
        optimiser.zero_grad()
    update_average(state.average, trainee, min(schedule.ema, (1 + state.step) / (10 + state.step)))
    state.step += 1
    masks, predicted, iou, affinity = totals.tolist()
    return {"masks": masks, "predicted": predicted, "iou": iou, "affinity": affinity, "auxiliary": auxiliary.item()}


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of the gradients of all; alone, nothing."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = nn.utils.parameters_to_vector(gradients)
    dist.all_reduce(flat)
    nn.utils.vector_to_parameters(flat / dist.get_world_size(), gradients)


def rank_and_count() -> tuple[int, int]:
    """(Rank of this process, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def seconds_of_first(seconds: float) -> float:
    """The first process's clock, so that all follow one schedule and stop after the same step."""
    if not dist.is_initialized():
        return seconds
    clock = torch.tensor([seconds], dtype=torch.float64)
    dist.broadcast(clock, 0)
    return clock.item()


@torch.no_grad()
def update_average(average: SamWithAuxiliaryHead, trainee: SamWithAuxiliaryHead, decay: float) -> None:
    """Exponential moving average of the weights."""
    for slow, fast in zip(average.parameters(), trainee.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def save_weights(trainee: SamWithAuxiliaryHead, path: Path) -> None:
    """SAM's weights alone, fp16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_suffix(".partial")
    torch.save({k: v.half() for k, v in trainee.sam.state_dict().items()}, partial_path)
    partial_path.rename(path)


def draw_examples(data: Batch, count: int, rng: np.random.Generator) -> list[Example]:
    """The examples of one step."""
    return [make_example(data, int(rng.integers(len(data))), rng) for _ in range(count)]


@torch.no_grad()
def point_quality(trainee: SamWithAuxiliaryHead, batch: Batch, images: int) -> dict[str, float]:
    """Mean IoU for one point on held-out windows: of each output with its level, and of the best output with each."""
    rng = np.random.default_rng(7)
    by_level, best, error = [], [], []
    for index in np.linspace(0, len(batch) - 1, min(images, len(batch))).astype(int):
        example = make_example(batch, int(index), rng, augment=False)
        points_1N2 = torch.from_numpy(example.points_N2)[None]
        (logits,), (predicted,) = trainee.predict_masks(trainee.embed(images_of([example])), points_1N2)
        targets_NLhw = targets_of(example)
        iou_NL3 = iou_of(logits[:, None, 1:], targets_NLhw[:, :, None])
        by_level.append(iou_NL3.diagonal(dim1=1, dim2=2).mean(0))
        best.append(iou_NL3.amax(2).mean())
        error.append((predicted[:, 1:] - iou_NL3.diagonal(dim1=1, dim2=2)).abs().mean())
    part, whole, region = torch.stack(by_level).mean(0).tolist()
    return {"part": part, "object": whole, "region": region, "best_of_three": torch.stack(best).mean().item(),
            "predicted_error": torch.stack(error).mean().item()}  # fmt: skip


def train(state: State, data: Batch, validation: Batch, schedule: Schedule, work: Path,
          out: Path) -> None:  # fmt: skip
    """Until the schedule's minutes are over; checkpoints and weights are written every few minutes."""
    rank, _ = rank_and_count()
    rng = np.random.default_rng((state.step + 1, rank))
    running: dict[str, float] = {}
    last_save = last_line = time.monotonic()
    while state.seconds < 60 * schedule.minutes:
        before = time.monotonic()
        losses = train_step(state, draw_examples(data, schedule.batch_size, rng), schedule)
        running = {k: 0.98 * running.get(k, v) + 0.02 * v for k, v in losses.items()}
        now = time.monotonic()
        state.seconds = seconds_of_first(state.seconds + now - before)
        if rank > 0:
            continue
        if now - last_line > 15:
            last_line = now
            left = schedule.minutes - state.seconds / 60
            print(f"step {state.step} {state.seconds / state.step:.2f} s/step, {left:.1f} min left  "
                  + "  ".join(f"{k} {v:.4f}" for k, v in running.items()), flush=True)  # fmt: skip
        if now - last_save > 240 or state.seconds >= 60 * schedule.minutes:
            last_save = now
            quality = point_quality(state.average, validation, 40)
            state.history.append({"step": state.step, "minutes": state.seconds / 60, **running, **quality})
            print(json.dumps(state.history[-1]), flush=True)
            state.save(work / "checkpoint.pt")
            save_weights(state.average, out / "sam.pth")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of training shards")
    parser.add_argument("--validation", type=Path, required=True, help="folder of held-out windows")
    parser.add_argument("--begin-with", type=Path, help="published weights (sam.pth) or a checkpoint to start from")
    parser.add_argument("--minutes", type=float, default=60, help="length of the training")
    parser.add_argument("--work", type=Path, default=Path("data/sam"), help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, default=Path("data/sam/out"), help="folder of the weights")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of both learning rates; below 1 to refine")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    usual = Schedule(options.minutes)
    schedule = replace(
        usual, learning_rate=options.rate * usual.learning_rate, muon_rate=options.rate * usual.muon_rate
    )
    state = start(schedule)
    if options.begin_with:
        state.begin_with(options.begin_with)
    if (options.work / "checkpoint.pt").exists():
        state.load(options.work / "checkpoint.pt")
        print(f"resuming from step {state.step} of {options.work / 'checkpoint.pt'}, without --begin-with", flush=True)
    data = Batch.join([load_shards(folder, *rank_and_count()) for folder in options.data])
    train(state, data, load_shards(options.validation), schedule, options.work, options.out)


if __name__ == "__main__":
    main()
