"""A step of the student's training beside the same step in transformers' Trainer.

    python -m scripts.measure_training_speed --threads 2 --width 512      # needs: pip install accelerate

Random panoramas with the demo's losses. The Trainer has the same network as transformers computes it, the same batch,
losses and optimiser. Steps of both in turn in one process, in float32: medians of wall clock.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pipeline.recipe import Recipe, load_recipe, merge_recipe
from pipeline.student.augment import Augmentation, jitter_colours
from pipeline.student.config import TRAINING_WRAP
from pipeline.student.data import TrainingBatch, collate
from pipeline.student.losses import mka_losses, total
from pipeline.student.model import forward_wrapped, normalise, to_unit
from pipeline.student.targets import make_targets
from scripts.measure_training_step import DEMO, plain_pass, random_sample
from stages.distill_job import DistillJob
from stages.memory import keep_freed_memory
from stages.trainee import TrainState, prepare
from stages.training import training_step


def seconds_of(work: Callable[[], object]) -> float:
    """Wall clock of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class _PlainStudent(nn.Module):
    """The student's losses of a batch, its network computed by transformers' own modules."""

    def __init__(self, training: TrainState, job: DistillJob) -> None:
        super().__init__()
        self.model, self.projections, self.job = training.model, training.projections, job

    def forward(self, batch: TrainingBatch) -> dict[str, Tensor]:
        pixels_B3HW = normalise(jitter_colours(to_unit(batch.image_BHW3), batch.colours_B3))
        with patch("pipeline.student.model.pass_through", plain_pass):
            output = forward_wrapped(self.model, pixels_B3HW, TRAINING_WRAP if batch.whole else 0)
        losses = mka_losses(output, make_targets(batch), self.projections, self.job.losses, wrap=batch.whole)
        return {"loss": total(losses, self.job.losses)}


def measure_steps(recipe: Recipe, times: int) -> dict[str, list[float]]:
    """Seconds of steps, ours and the Trainer's in turn."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    size = recipe.distill.batch_size
    samples = [random_sample(recipe, seed) for seed in range(size)]
    batch = collate(samples, [Augmentation(0, recipe.panorama.width)] * size)
    job = DistillJob(Path(), ("",), lambda _: (_ for _ in ()).throw(KeyError), "", recipe.classes, recipe.student,
                     recipe.losses, recipe.distill, 0)  # fmt: skip
    ours, theirs = prepare(job, samples[0]), prepare(job, samples[0])
    taken: dict[str, list[float]] = {"transformers' Trainer": [], "ours": []}
    began = 0.0

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            nonlocal began
            began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            taken["transformers' Trainer"].append(time.perf_counter() - began)
            taken["ours"].append(seconds_of(lambda: training_step(job, ours, batch)))

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, max_steps=times + 1, per_device_train_batch_size=1, max_grad_norm=0, use_cpu=True, report_to=[],
            learning_rate=recipe.distill.learning_rate, weight_decay=recipe.distill.weight_decay, save_strategy="no",
            logging_strategy="no", disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(_PlainStudent(theirs, job), settings, data_collator=lambda _: {"batch": batch},
                          train_dataset=[0] * (times + 1), callbacks=[Clock()])  # type: ignore[arg-type] # fmt: skip
        trainer.train()
    return {name: own[1:] for name, own in taken.items()}  # the first fills caches


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    demo = load_recipe(DEMO)
    recipe = replace(demo, distill=replace(demo.distill, precision="float32"))
    taken = measure_steps(merge_recipe(recipe, {"panorama": {"width": options.width}}), options.times)
    print("| step | median, s | least, s |\n| --- | ---: | ---: |")
    for name, seconds in taken.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} |")


if __name__ == "__main__":
    main()
