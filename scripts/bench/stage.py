"""Stage one as a whole, with the stock generator in place of ours: what the change is worth to whoever runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.cache import records
from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.panorama.windows import window_grid
from pipeline.recipe import Recipe
from scripts.bench.figure import Figure, now
from scripts.bench.setup import Setup
from scripts.profile_teacher_cache import demo_run, forget_networks
from stages.events import silent
from stages.runs import Run
from stages.teacher_cache import teacher_cache

NAME = "teacher-cache"
NAMES = (NAME,)
PANORAMAS = 2


def stage_figures(setup: Setup) -> Iterator[Figure]:
    """Stage one of the demo, CPU seconds per panorama."""
    if NAME not in setup.wanted:
        return
    before: list[float] = []
    after: list[float] = []
    same, counts = True, ""
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(setup.repeats):
            stock, ours = (demo_run(Path(folder) / f"{kind}{repeat}", PANORAMAS, kind) for kind in ("stock", "sam"))
            before.append(_seconds(stock, setup.device))
            after.append(_seconds(ours, setup.device))
            theirs, mine = _stored(stock), _stored(ours)
            same &= theirs.keys() == mine.keys() and all(_equal(theirs[entry], mine[entry]) for entry in theirs)
            counts = _differing(theirs, mine, ours.recipe)
    note = f"demo recipe, {PANORAMAS} panoramas, seconds per panorama, networks loaded anew; {counts}"
    peer = "the same stage over SamAutomaticMaskGenerator"
    yield Figure(NAME, peer, float(np.median(before)), float(np.median(after)), None, same, note)


def _seconds(run: Run, device: str) -> float:
    forget_networks()
    threads, started = torch.get_num_threads(), now(device)
    teacher_cache(run, silent, device=device, threads=threads)
    return (now(device) - started) / PANORAMAS


def _stored(run: Run) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """The masks of each panorama in a run's store, which has been written once, by the name of their entry."""
    store = TeacherStore.open(run.store, "r")
    (fingerprint,) = store.fingerprints(MASKS)
    return {entry: dict(store.read(MASKS, fingerprint, entry)) for entry in store.ids(MASKS, fingerprint)}


def _differing(
    stock: Mapping[str, dict[str, npt.NDArray[Any]]], ours: Mapping[str, dict[str, npt.NDArray[Any]]], recipe: Recipe
) -> str:
    """How many masks are not equal to the pixel, and by how many pixels."""
    windows = window_grid(recipe.panorama.height, recipe.panorama.width, recipe.windows)
    masks = different = pixels = 0
    for entry in stock:
        both = (records.unpack_masks(stored[entry], windows) for stored in (stock, ours))
        for one, other in zip(*both, strict=True):
            masks += len(one)
            if len(one) != len(other):
                different += max(len(one), len(other))
                continue
            unequal_M = (one.dense() != other.dense()).sum(axis=(1, 2))
            different += int((unequal_M > 0).sum())
            pixels += int(unequal_M.sum())
    return f"{different} of {masks} masks differ, by {pixels} pixels"


def _equal(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]]) -> bool:
    """Masks and boxes to the pixel, scores to 1e-5."""
    return one.keys() == other.keys() and all(_close(one[name], other[name]) for name in one)


def _close(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    return np.allclose(one, other, rtol=0, atol=1e-5) if one.dtype.kind == "f" else np.array_equal(one, other)
