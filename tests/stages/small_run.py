"""A run small enough for tests: four tiny panoramas of the demo world, the embedded models, few prompts."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.cache.store import TeacherStore
from pipeline.recipe import Recipe, load_recipe
from pipeline.world import build_scene, render_panorama
from stages import products
from stages.manifest import read_manifest
from stages.panorama_records import PanoramaRecords
from stages.runs import Run

HEIGHT, WIDTH = 64, 128
SEEDS = (0, 1, 2)

RECIPE = """
name = "small"
label_set = "densepass13"
[data]
panoramas = "photos"
evaluation = "held_out"
labels = "labels"
[panorama]
width = 128
find_constant_border = false
[windows]
height = 64
width = 64
stride_y = 32
stride_x = 64
[sam]
points_per_side = 2
pred_iou_thresh = 0.0
stability_score_thresh = 0.0
[assistant]
kind = "demo"
label_set = "densepass13"
[student]
size = "tiny"
seed = 1  # with which some steps of the training are mirrored and some not
[losses]
stride = 4
[distill]
steps = 4
batch_size = 1
warmup_steps = 1
checkpoint_every = 2
log_every = 1
precision = "float32"
[evaluation]
overlays = 1
"""


def write_panorama(path: Path, seed: int, labels: Path | None = None) -> None:
    """Render one panorama, and its labels where a path is given."""
    for content, target in zip(_rendered(seed, path.suffix), (path, labels), strict=True):
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


@cache
def _rendered(seed: int, suffix: str) -> tuple[bytes, bytes]:
    """Files of a panorama and of its labels."""
    view = render_panorama(build_scene(seed), HEIGHT, WIDTH)
    return _encoded(view.image_HW3, suffix), _encoded(view.labels_HW, ".png")


def _encoded(array: npt.NDArray[np.uint8], suffix: str) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, Image.registered_extensions()[suffix])
    return file.getvalue()


def make_folders(folder: Path) -> Path:
    """Three panoramas to learn from and one to evaluate on, with a recipe; returns the recipe's path."""
    for seed in SEEDS:
        write_panorama(folder / "photos" / f"{seed}.png", seed)
    write_panorama(folder / "held_out" / "9.png", 9, folder / "labels" / "9.png")
    recipe = folder / "small.toml"
    recipe.write_text(RECIPE)
    return recipe


def small_run(folder: Path, **tables: object) -> Run:
    """The run of `make_folders(folder)`, with settings changed by table."""
    from pipeline.recipe import merge_recipe

    recipe: Recipe = merge_recipe(load_recipe(folder / "small.toml"), tables)
    return Run(recipe, folder / "cache" / "small")


def entry_of(run: Run, product: str, panorama_id: str) -> Path:
    """Folder of what the store has of a panorama."""
    record = PanoramaRecords(run.panoramas)[panorama_id]
    declared = products.product(product)
    return run.store / declared.stored_as / read_manifest(run)[product] / record.entry(declared)


def read_product(run: Run, product: str, panorama_id: str) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a panorama."""
    folder = entry_of(run, product, panorama_id)
    return TeacherStore.open(run.store, "r").read(folder.parent.parent.name, folder.parent.name, folder.name)


def discard(run: Run, product: str, panorama_id: str) -> None:
    """Forget what the store has of a panorama."""
    folder = entry_of(run, product, panorama_id)
    TeacherStore.open(run.store, "a").discard(folder.parent.parent.name, folder.parent.name, folder.name)


def arrays_of(run: Run) -> dict[tuple[str, str, str], npt.NDArray[Any]]:
    """All arrays of a run, by product, panorama and name."""
    return {
        (product.name, panorama_id, name): array
        for product in products.products_of(run.recipe)
        for panorama_id in PanoramaRecords(run.panoramas)
        if entry_of(run, product.name, panorama_id).exists()
        for name, array in read_product(run, product.name, panorama_id).items()
    }
