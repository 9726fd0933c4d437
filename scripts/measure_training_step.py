"""How long one training step of the demo's student takes, beside one through transformers' own modules.

    python -m scripts.measure_training_step --threads 2

Random panoramas of the demo's size. The quick way (`pipeline.student.network_pass`) and the plain one, with an
optimiser that takes one parameter after another, in turn in one process: medians of wall clock and of CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from transformers import SegformerForSemanticSegmentation

from pipeline.recipe import Recipe, load_recipe
from pipeline.student.augment import Augmentation
from pipeline.student.data import collate
from pipeline.student.pooling import PooledSample
from pipeline.student.schedule import parameter_groups
from stages.distill_job import DistillJob
from stages.memory import keep_freed_memory
from stages.trainee import prepare
from stages.training import training_step

CHANNELS = (32, 64, 128, 192)
"""Of the features of the demo's assistant, by level."""
DEMO = Path(__file__).parents[1] / "stages" / "recipes" / "demo.toml"


def plain_pass(model: SegformerForSemanticSegmentation, pixels_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`pass_through` by transformers' own modules."""
    output = model(pixel_values=pixels_B3HW, output_hidden_states=True)
    return output.logits, tuple(output.hidden_states)


def random_sample(recipe: Recipe, seed: int) -> PooledSample:
    """A panorama of noise with targets of noise, as the demo has them."""
    rng = np.random.default_rng(seed)
    height, width, stride = recipe.panorama.height, recipe.panorama.width, recipe.losses.stride
    rows, columns = height // stride, width // stride
    codes_Chw = rng.integers(0, 256, (len(recipe.classes), rows, columns), np.uint8)
    levels = zip(CHANNELS, (4, 8, 16, 32), strict=True)
    return PooledSample(
        image_HW3=rng.integers(0, 256, (height, width, 3), np.uint8),
        assistant_Chw=codes_Chw,
        ensemble_Chw=codes_Chw[::-1].copy(),
        valid_hw=np.full((rows, columns), stride**2, np.uint8),
        reliable_hw=rng.integers(0, stride**2 + 1, (rows, columns), np.uint8),
        boundary_hw=rng.integers(0, 2, (height // 4, width // 4), np.uint8),
        boundary_valid_hw=np.full((height // 4, width // 4), 16, np.uint8),
        features={
            level: rng.normal(size=(channels, height // cell, width // cell)).astype(np.float16)
            for level, (channels, cell) in enumerate(levels, 1)
        },
    )


def step_of(recipe: Recipe, *, quick: bool) -> Callable[[], tuple[float, float]]:
    """A training of its own, whose next step takes the returned seconds of wall clock and CPU."""
    size = recipe.distill.batch_size
    samples = [random_sample(recipe, seed) for seed in range(size)]
    job = DistillJob(Path(), ("",), lambda _: (_ for _ in ()).throw(KeyError), "", recipe.classes, recipe.student,
                     recipe.losses, recipe.distill, 0)  # fmt: skip
    state = prepare(job, samples[0])
    if not quick:
        groups = parameter_groups(state.model, state.projections, recipe.distill)
        state = replace(state, optimizer=torch.optim.AdamW(groups, foreach=False, fused=False))
    batch = collate(samples, [Augmentation(0, recipe.distill.columns_of_step(recipe.panorama.width))] * size)

    def step() -> tuple[float, float]:
        began = time.perf_counter(), time.process_time()
        if quick:
            training_step(job, state, batch)
        else:
            with patch("pipeline.student.model.pass_through", plain_pass):
                training_step(job, state, batch)
        return time.perf_counter() - began[0], time.process_time() - began[1]

    return step


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    demo = load_recipe(DEMO)
    recipes = {name: replace(demo, distill=replace(demo.distill, precision=name)) for name in options.precision}
    steps = {
        (name, way): step_of(recipe, quick=way == "quick")
        for name, recipe in recipes.items()
        for way in ("plain", "quick")
    }
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in steps}
    for turn in range(options.times + 1):
        for key, step in steps.items():
            taken = step()
            if turn:  # the first fills caches
                seconds[key].append(taken)
    print("| precision | way | wall, s | CPU, s | least wall, s |")
    print("|---|---|---|---|---|")
    for (name, way), taken in seconds.items():
        wall, cpu = zip(*taken, strict=True)
        print(f"| {name} | {way} | {statistics.median(wall):.2f} | {statistics.median(cpu):.2f} | {min(wall):.2f} |")


if __name__ == "__main__":
    main()
