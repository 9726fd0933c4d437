"""How long a rerun of a finished stage one takes.

    python -m scripts.measure_rerun [--panoramas 10000] [--folder FOLDER]

Fabricates small panoramas and, by the store's own marks, a cache that holds all of them, into a temporary folder, or
into FOLDER, where they stay and are found next time; then runs `goodsam teacher-cache` there, which finds nothing to
do, three times after a first time, and prints seconds of wall clock and processor.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.cache.group import MARK, read_mark, write_group
from pipeline.cache.mark import Array
from pipeline.cache.schema import ASSISTANT, ENSEMBLE, MASKS
from pipeline.cache.store import TeacherStore
from stages.files import digest
from stages.manifest import write_manifest
from stages.panorama_records import PanoramaRecords, record_of, size_and_time
from stages.products import fingerprints, products_of
from stages.runs import Run, open_run

RECIPE_FILE = "rerun.toml"
RECIPE = """name = "rerun"
[data]
panoramas = "photos"
"""
ARRAYS: dict[str, tuple[str, ...]] = {
    MASKS: ("runs", "run_counts", "windows", "boxes", "predicted_iou", "stability"),
    ASSISTANT: ("assistant_probabilities", "assistant_whole_probabilities", "agreement", "window_labels",
                     *(f"features_{level}{end}" for level in (1, 2, 3, 4) for end in ("", "_scale"))),
    ENSEMBLE: ("ensemble_labels", "ensemble_probabilities", "reliability", "boundary", "ignored"),
}  # fmt: skip
"""What stage one stores; the number of files is what a rerun's time depends on."""
PER_FOLDER = 500


def main(arguments: list[str] | None = None) -> None:
    """Fabricate, rerun, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--panoramas", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "cache" / "rerun" / "teacher.json").exists():
            fabricate(folder, options.panoramas)
        count = sum(1 for _ in (folder / "photos").rglob("*.png"))
        rerun(folder)
        seconds = [rerun(folder) for _ in range(3)]
    wall, processor = (statistics.median(one) for one in zip(*seconds, strict=True))
    print(f"rerun over {count} panoramas: {wall:.2f} s, {processor:.2f} s of processor (medians of 3)")


def fabricate(folder: Path, count: int) -> Run:
    """A recipe, `count` tiny panoramas and their finished cache in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE_FILE).write_text(RECIPE)
    run = open_run(str(folder / RECIPE_FILE), folder / "cache")
    store, prints = TeacherStore.open(run.store, "a"), fingerprints(run.recipe)
    picture = folder / "picture.png"
    Image.fromarray(np.full((32, 64, 3), 127, np.uint8)).save(picture)
    products = products_of(run.recipe)
    arrays: Array = np.zeros((4, 4), np.uint8)
    for product in products:
        store.write(product.name, prints[product.name], "template", dict.fromkeys(ARRAYS[product.name], arrays), {})
    content, records = picture.read_bytes(), PanoramaRecords(run.panoramas)
    for number in range(count):
        path = folder / "photos" / f"{number // PER_FOLDER:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + bytes(number))  # no two are of one size, as it is with photos
        record = record_of(path, digest(path), "", size_and_time(path))
        records.add(f"panoramas/{path.parent.name}/{path.stem}", record)
        for product in products:
            _copy_template(store.path / product.name / prints[product.name], record.entry(product))
    for product in products:
        store.discard(product.name, prints[product.name], "template")
    write_manifest(run, prints)
    return run


def _copy_template(folder: Path, entry: str) -> None:
    shutil.copytree(folder / "template", folder / entry, copy_function=os.link)  # no disk fills with copies of a chunk
    (folder / entry / "zarr.json").unlink()
    mark = dataclasses.replace(read_mark(folder / "template"), panorama_id=entry)
    write_group(folder / entry, {MARK: mark.to_json()})


def rerun(folder: Path) -> tuple[float, float]:
    """Seconds of wall clock and of processor that `goodsam teacher-cache` takes there.

    Raises:
        CalledProcessError: it failed.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "stages.cli", "teacher-cache", RECIPE_FILE, "--cache", "cache"]
    subprocess.run(command, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
