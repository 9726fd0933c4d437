"""Stage one: every panorama through SAM and the assistant, rectified, fused and cached.

A panorama is one idempotent task. The stage asks the store what is missing and does that: in turn in this process, in
worker processes of this machine, or on a running dask cluster; results are equal.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.cache.store import Part, TeacherStore
from pipeline.errors import CacheError, InputError
from pipeline.recipe import Recipe
from stages.events import ItemFailed, Listener, Note, StageAdvanced, StageFinished, StageStarted
from stages.files import digest
from stages.panorama_task import PanoramaTask, TaskReport, cache_panorama, part_fingerprints
from stages.runner import run_tasks
from stages.runs import Fingerprints, Run, write_manifest
from stages.splits import SplitPanorama, all_panoramas

STAGE = "teacher-cache"


@dataclass(frozen=True)
class CacheSummary:
    """What a run of stage one did."""

    total: int
    """Panoramas of the recipe."""
    computed: int
    """Panoramas of which at least one part was computed now."""
    failed: dict[str, str]
    """Panoramas set aside, with the reason."""


def teacher_cache(
    run: Run, listener: Listener, *, workers: int = 0, scheduler: str = "", device: str = "cpu"
) -> CacheSummary:
    """Compute and store what is missing of a run's teacher cache.

    Args:
        run: recipe and folder.
        listener: hears the events.
        workers: worker processes on this machine; 0 works in this process, in turn.
        scheduler: address of a running dask scheduler ("tcp://..."), instead of workers.
        device: torch device.

    Raises:
        GoodSAMError: input, weights or store are unusable, or every panorama failed.
    """
    started = time.monotonic()
    panoramas = all_panoramas(run.recipe)
    run.prepare()
    store = TeacherStore.open(run.store, "a")
    prints = part_fingerprints(run.recipe, device)
    _describe(store, prints, run.recipe)
    write_manifest(run, prints)
    tasks = [
        PanoramaTask(p, run.recipe, run.store, prints, device) for p in panoramas if not _is_complete(store, prints, p)
    ]
    listener(StageStarted(STAGE, len(tasks), "panoramas"))
    if len(tasks) < len(panoramas):
        listener(Note(STAGE, f"{len(panoramas) - len(tasks)} of {len(panoramas)} panoramas are cached already"))
    failed = _follow(run_tasks(cache_panorama, tasks, workers, scheduler), len(tasks), listener)
    summary = CacheSummary(len(panoramas), len(tasks) - len(failed), failed)
    listener(StageFinished(STAGE, time.monotonic() - started, {
        "panoramas": summary.total, "computed": summary.computed, "set aside": len(failed)}))  # fmt: skip
    if len(failed) == len(panoramas):
        raise InputError("none of the panoramas could be used", "at least one that can", "See the reasons above")
    return summary


def _follow(reports: Iterator[TaskReport], total: int, listener: Listener) -> dict[str, str]:
    failed: dict[str, str] = {}
    for done, report in enumerate(reports, start=1):
        if report.fatal:
            raise CacheError(
                report.error.split("; ")[0], "a store that can be written", "What was cached before is kept"
            )
        if report.error:
            failed[report.id] = report.error
            listener(ItemFailed(STAGE, report.id, report.error))
        if report.trace:
            listener(Note(STAGE, report.trace))
        listener(StageAdvanced(STAGE, done, report.id, sum(report.seconds.values())))
    return failed


def _is_complete(store: TeacherStore, prints: Fingerprints, panorama: SplitPanorama) -> bool:
    names = ((part, getattr(prints, part.value)) for part in Part)
    if not all(store.is_done(part, name, panorama.id) for part, name in names):
        return False
    source = digest(panorama.path)
    return all(store.is_done(part, getattr(prints, part.value), panorama.id, source_sha256=source) for part in Part)


def _describe(store: TeacherStore, prints: Fingerprints, recipe: Recipe) -> None:
    settings = dataclasses.asdict(recipe)
    for part, keys in (
        (Part.MASKS, ("panorama", "windows", "sam")),
        (Part.ASSISTANT, ("label_set", "panorama", "windows", "assistant")),
        (Part.ENSEMBLE, ("label_set", "panorama", "windows", "fusion", "boundary")),
    ):
        store.describe(part, getattr(prints, part.value), {key: settings[key] for key in keys})
