"""An epoch of the student from stage one's cache beside the same epoch with the teacher run online.

    python -m scripts.measure_epoch                          the demo's networks
    python -m scripts.measure_epoch street --images 1        vit_b, SegFormer-B5 and B0 sizes with random weights

Online, stage one computes every panorama of a batch in place of reading it from the cache; the step is the same.
Seconds of one processor per panorama, on one thread. With `--images N` SAM and the assistant see the first N windows
and views of a panorama, and their seconds are scaled to all. The teacher's time is without fusion and, with random
weights, without the drawing of masks, of which too few pass the thresholds: the ratio is a lower bound.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from segment_anything import sam_model_registry
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from pipeline.arrays import ImageArray
from pipeline.panorama.views import View
from pipeline.recipe import Recipe, merge_recipe
from pipeline.student.data import TrainingSet
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.rectification import predict_views
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.distill import distill_job
from stages.events import silent
from stages.memory import keep_freed_memory
from stages.reading import RunReader
from stages.runs import Run, open_recipe
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.trainee import prepare
from stages.training import training_step
from stages.views import assistant_views, sam_views, shared_views, whole_view

_B5: dict[str, Any] = {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768,
                       "num_labels": 19}  # fmt: skip
RECIPES = ("demo", "street")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", choices=RECIPES, default="demo", help="whose networks and sizes")
    parser.add_argument("--panoramas", type=int, default=2, help="panoramas of the epoch")
    parser.add_argument("--images", type=int, default=0, help="windows and views that the teacher sees; 0: all")
    parser.add_argument("--times", type=int, default=3, help="epochs; the first fills caches")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        recipe = sized_recipe(options.recipe, Path(folder))
        image_HW3 = write_panoramas(Path(folder) / "panoramas", options.panoramas, recipe)
        cached = seconds_from_cache(recipe, Path(folder) / "cache", options.times)
        online = teacher_seconds(recipe, image_HW3, options.images)
    print(table(cached, online))


def sized_recipe(name: str, folder: Path) -> Recipe:
    """The recipe with panoramas in `folder`; street's with networks of random weights, written there.

    Args:
        name: one of `RECIPES`.
        folder: gets what the recipe names.
    """
    recipe = merge_recipe(open_recipe(name), {"data": {"panoramas": str(folder / "panoramas"), "evaluation": "",
                                                       "labels": ""}})  # fmt: skip
    if name == "demo":
        return recipe
    torch.manual_seed(0)
    sam = folder / f"{recipe.sam.model}.pth"
    torch.save(sam_model_registry[recipe.sam.model]().state_dict(), sam)
    SegformerForSemanticSegmentation(SegformerConfig(**_B5)).save_pretrained(folder / "b5")
    return merge_recipe(recipe, {"sam": {"checkpoint": str(sam)}, "assistant": {"name": str(folder / "b5")},
                                 "student": {"weights": ""}, "distill": {"batch_size": 1}})  # fmt: skip


def write_panoramas(folder: Path, count: int, recipe: Recipe) -> ImageArray:
    """Render panoramas of the recipe's working size into a folder; returns the first."""
    folder.mkdir()
    size = recipe.panorama.height, recipe.panorama.width
    images = [render_panorama(build_scene(seed), *size).image_HW3 for seed in MODEL_VALIDATION[:count]]
    for number, image_HW3 in enumerate(images):
        Image.fromarray(image_HW3).save(folder / f"{number}.png")
    return images[0]


def seconds_from_cache(recipe: Recipe, cache: Path, times: int) -> float:
    """Seconds per panorama of an epoch: reading from the cache, and the steps.

    The cache is filled by the demo's small networks: arrays of the same sizes, with other channels of features.

    Args:
        recipe: student, panoramas and working size.
        cache: folder that is made.
        times: epochs; the median of all but the first counts.
    """
    small = merge_recipe(recipe, {
        "sam": {"model": "demo", "checkpoint": "", "points_per_side": 2},
        "assistant": {"kind": "demo", "name": "", "window_scale": 0.5, "views_weight": 0, "label_set": "densepass13"},
        "label_set": "densepass13",
        "distill": {"sample_memory_gb": 0},  # a large set is read anew in every epoch
    })  # fmt: skip
    run = Run(small, cache / "small")
    teacher_cache(run, silent)
    job = distill_job(run, RunReader.open(run, learning_panoramas(run.recipe)))
    data = TrainingSet(job.ids, job.read_sample, job.distill, job.losses.stride, job.seed)
    training = prepare(job, data.sample(0))
    steps = -(-len(job.ids) // job.distill.batch_size)

    def epoch(number: int) -> None:
        for step in range(number * steps, (number + 1) * steps):
            training_step(job, training, data.batch(step))

    taken = [seconds_of(lambda number=number: epoch(number)) for number in range(max(times, 2))]
    return statistics.median(taken[1:]) / (steps * job.distill.batch_size)


def teacher_seconds(recipe: Recipe, image_HW3: ImageArray, images: int) -> dict[str, float]:
    """Seconds that SAM and the assistant take for one panorama.

    Args:
        recipe: networks and what they are shown.
        image_HW3: the panorama at the working size.
        images: windows and views that are shown, whose seconds are scaled to all; 0: all.
    """
    config, device = recipe.assistant, torch.device("cpu")
    sam, assistant = load_mask_source(recipe.sam, device), load_assistant(config, device)
    windows, views, sams = shared_views(recipe), assistant_views(recipe), sam_views(recipe)

    def scaled(all_views: Sequence[View], work: Callable[[Sequence[View]], object]) -> float:
        shown = all_views[: images or len(all_views)]
        return seconds_of(lambda: work(shown)) * len(all_views) / len(shown) if shown else 0.0

    def predict(shown: Sequence[View], scale: float) -> None:
        for _ in predict_views(image_HW3, shown, assistant, config.feature_levels, scale, recipe.classes):
            pass

    return {
        "SAM": scaled(sams, lambda shown: sam.many([view.cut_image(image_HW3) for view in shown])),
        "assistant, windows": scaled(windows, lambda shown: predict(shown, config.window_scale)),
        "assistant, views": scaled(views, lambda shown: predict(shown, config.views_scale)),
        "assistant, whole": seconds_of(lambda: predict([whole_view(recipe)], config.whole_scale)),
    }


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def table(cached: float, online: dict[str, float]) -> str:
    """The figures as Markdown.

    Args:
        cached: seconds per panorama from the cache.
        online: seconds per panorama of the teacher, by part.
    """
    teacher = sum(online.values())
    rows = [*online.items(), ("teacher", teacher), ("epoch from the cache", cached), ("epoch online", teacher + cached)]
    lines = ["| CPU seconds per panorama | |", "| --- | ---: |", *(f"| {name} | {value:.2f} |" for name, value in rows)]
    return "\n".join([*lines, f"| ratio | {(teacher + cached) / cached:.1f} |"])


if __name__ == "__main__":
    main()
