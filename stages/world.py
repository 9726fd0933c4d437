"""The demo's data: panoramas of the demo world, unlabelled ones to learn from, labelled ones to evaluate on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import DEMO_EVALUATION, DEMO_TRAIN
from stages.events import Listener, StageAdvanced, StageFinished, StageStarted
from stages.files import write_picture
from stages.runner import run_tasks

STAGE = "world"
HEIGHT, WIDTH = 512, 1024


@dataclass(frozen=True)
class SceneTask:
    """One panorama to render."""

    seed: int
    """Seed of the scene."""
    image: Path
    """PNG to write."""
    labels: Path | None
    """PNG of the labels, or None for a panorama to learn from."""


def render_world(folder: Path, learning: int, evaluation: int, listener: Listener, *, workers: int = 0) -> None:
    """Render `learning` unlabelled and `evaluation` labelled panoramas (512x1024); existing ones are kept.

    Files: `panoramas/<seed>.png`, `evaluation/<seed>.png`, `labels/<seed>.png` (label set densepass13).

    Raises:
        CacheError: a file cannot be written.
    """
    started = time.monotonic()
    tasks = [SceneTask(s, folder / "panoramas" / f"{s:05d}.png", None) for s in DEMO_TRAIN[:learning]]
    tasks += [SceneTask(s, folder / "evaluation" / f"{s:05d}.png", folder / "labels" / f"{s:05d}.png")
              for s in DEMO_EVALUATION[:evaluation]]  # fmt: skip
    tasks = [task for task in tasks if not task.image.exists()]
    listener(StageStarted(STAGE, len(tasks), "panoramas"))
    for done, (name, seconds) in enumerate(run_tasks(render_scene, tasks, workers), start=1):
        listener(StageAdvanced(STAGE, done, name, seconds))
    listener(StageFinished(STAGE, time.monotonic() - started, {"rendered": len(tasks), "folder": str(folder)}))


def render_scene(task: SceneTask) -> tuple[str, float]:
    """Render and write one panorama; the image is written last and atomically, so that it marks both files as done."""
    started = time.monotonic()
    view = render_panorama(build_scene(task.seed), HEIGHT, WIDTH)
    if task.labels is not None:
        write_picture(task.labels, Image.fromarray(view.labels_HW))
    write_picture(task.image, Image.fromarray(view.image_HW3))
    return task.image.stem, time.monotonic() - started
