"""Stage one: every panorama through SAM and the assistant, rectified, fused and cached.

A panorama is one idempotent task. The stage asks the store what is missing and does that: in this process, in turn or,
where a GPU must not wait for what the CPU does, two at a time; in worker processes of this machine; or on a running
dask cluster. Results are equal.

What computes (`panorama_task`, `devices`) imports torch, transformers and segment_anything: seconds of a processor. It
is imported once something is missing, so that a rerun that finds everything done, or input that is not there, is quick.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.cache.store import TeacherStore
from pipeline.errors import GoodSAMError, WorkerError, counted, first_line
from pipeline.panorama.ignore_masks import IgnoreMasks
from pipeline.panorama.level import level_note
from pipeline.panorama.placement import placement_note
from pipeline.panorama.windows import missing_overlap
from pipeline.recipe import Recipe
from stages.claims import exclusive_lock
from stages.equal_panoramas import EqualPanoramas, find_equal_panoramas, learned_from_note
from stages.events import ItemFailed, Listener, Note, StageFinished, StageStarted, failure
from stages.files import digest
from stages.manifest import describe, write_manifest
from stages.missing import CachedPanoramas
from stages.panorama_records import PanoramaRecords
from stages.product_settings import assistants_of
from stages.products import STAGE_ONE, fingerprints, products_of
from stages.runner import require_scheduler, run_on_workers, run_tasks
from stages.runs import Run, refuse_old_layout
from stages.splits import SplitPanorama, survey_splits
from stages.task_reports import follow, require_some_done

if TYPE_CHECKING:
    from stages.panorama_task import StageOneReport
    from stages.panorama_work import PanoramaTask


@dataclass(frozen=True)
class CacheSummary:
    """What a run of stage one did."""

    total: int
    """Panoramas of the recipe, with those that were set aside."""
    computed: int
    """Panoramas of which at least one product was computed now."""
    repeated: int
    """Panoramas of the recipe whose content is that of an earlier one; they share its results."""
    failed: dict[str, str]
    """Panoramas set aside, with the reason."""
    products: dict[str, int]
    """How many panoramas each product was computed for now."""


def teacher_cache(
    run: Run, listener: Listener, *, workers: int = 0, scheduler: str = "", device: str = "cpu", threads: int = 1
) -> CacheSummary:
    """Compute and store what is missing of a run's teacher cache.

    Args:
        run: recipe and folder.
        listener: hears the events.
        workers: worker processes on this machine; 0 works in this process. On a GPU they share it and its memory.
        scheduler: address of a running dask scheduler ("tcp://..."), instead of workers.
        device: as `choose_device` takes it, here or, with a scheduler, on its workers.
        threads: torch threads per process. With one (the default) results do not depend on workers; on a CPU,
            workers are the better use of cores.

    Raises:
        GoodSAMError: input, weights or store are unusable, or every panorama failed.
    """
    if scheduler:
        require_scheduler(scheduler)
    refuse_old_layout(run.folder)
    with exclusive_lock(run.folder, STAGE_ONE, run.cache):
        return _fill(run, listener, workers, scheduler, device, threads)


def _fill(run: Run, listener: Listener, workers: int, scheduler: str, device: str, threads: int) -> CacheSummary:
    started = time.monotonic()
    found = survey_splits(run.recipe)
    panoramas = found.panoramas
    for note in found.notes:
        listener(Note(STAGE_ONE, note))
    for name, reason in found.set_aside.items():
        listener(ItemFailed(STAGE_ONE, name, reason))
    masks = found.ignore_masks(run.recipe)
    for note in masks.notes:
        listener(Note(STAGE_ONE, note))
    own_masks = digests_of_own_masks(masks, panoramas)
    prints = fingerprints(run.recipe)
    store, records = TeacherStore.open(run.store, "a"), PanoramaRecords(run.panoramas)
    cached = CachedPanoramas(store, prints, records)
    missing = cached.missing(panoramas, own_masks, STAGE_ONE, listener)
    equal = find_equal_panoramas(panoramas, cached.size, cached.known_digest, STAGE_ONE, listener)
    learned_from = learned_from_note(len(equal.learned_and_measured()), found.measured)
    for note in filter(None, (learned_from, _equal_note(equal))):
        listener(Note(STAGE_ONE, note))
    workers = 0 if scheduler else min(workers, equal.distinct(missing))
    tasks = _checked_tasks(run, prints, missing, listener, workers, scheduler, device, threads) if missing else []
    tasks = [
        replace(task, ignore_mask=str(masks.of(task.panorama.path) or ""),
                ignore_mask_sha256=own_masks.get(task.panorama.id, ""))
        for task in tasks
    ]  # fmt: skip
    for product in products_of(run.recipe):
        store.describe(product.stored_as, prints[product.name], describe(product, run.recipe))
    listener(StageStarted(STAGE_ONE, len(tasks), "panoramas"))
    is_recorded = len(tasks) < len(panoramas)
    if is_recorded:
        _record(run, prints)
        listener(
            Note(STAGE_ONE, f"{len(panoramas) - len(tasks)} of {counted(len(panoramas), 'panorama')} already cached")
        )
    with closing(_work_on(tasks, equal, workers, scheduler)) as running:
        reports: list[StageOneReport] = []
        for report in follow(running, STAGE_ONE, listener):
            if report.record is not None:
                records.add(report.id, report.record)
                if not is_recorded:
                    _record(run, prints)
                    is_recorded = True
            reports.append(report)
    cached.learn(missing)
    records.compact({panorama.id for panorama in (*panoramas, *found.beyond_limit)})
    tilts = [report.tilt for report in reports if report.tilt]
    failed = {report.id: report.failed.error for report in reports if report.failed}
    summary = CacheSummary(
        total=len(panoramas) + len(found.set_aside),
        computed=sum(bool(report.product_seconds) and not report.failed for report in reports),
        repeated=equal.repeated,
        failed={**found.set_aside, **failed},
        products=dict(Counter(product for report in reports for product in report.product_seconds)),
    )
    placed = sum(report.placed for report in reports)
    for note in filter(None, (placement_note(placed), level_note(tilts))):
        listener(Note(STAGE_ONE, note))
    facts = {"panoramas": summary.total, "computed": summary.computed, "set aside": len(summary.failed)}
    listener(StageFinished(STAGE_ONE, time.monotonic() - started, facts))
    require_some_done(len(panoramas), failed, "used")
    return summary


def _checked_tasks(
    run: Run,
    prints: Mapping[str, str],
    missing: Sequence[SplitPanorama],
    listener: Listener,
    workers: int,
    scheduler: str,
    device: str,
    threads: int,
) -> list[PanoramaTask]:
    """A task for each missing panorama, once it is known that device, assistant and cluster can do them."""
    from stages.devices import choose_device, describe_device
    from stages.panorama_task import check_assistant
    from stages.panorama_work import PanoramaTask

    if scheduler:  # a cluster's workers may have a device that this machine has not: they choose
        _require_matching_workers(scheduler, run.recipe, prints)
    else:
        device = choose_device(device)
    recipe = _split_gpu_memory(run.recipe, device, workers)
    tasks = [PanoramaTask(panorama, recipe, run.store.resolve(), prints, device, threads) for panorama in missing]
    for name in assistants_of(recipe):
        check_assistant(replace(tasks[0], device="cpu") if workers or scheduler else tasks[0], name)
    where = f"the workers of {scheduler}" if scheduler else describe_device(device, threads)
    listener(Note(STAGE_ONE, f"on {where}{f', {workers} workers' if workers else ''}"))
    size = run.recipe.panorama
    for note in missing_overlap(size.height, size.width, run.recipe.windows):
        listener(Note(STAGE_ONE, note))
    return tasks


def _work_on(
    tasks: Sequence[PanoramaTask], equal: EqualPanoramas, workers: int, scheduler: str
) -> Generator[StageOneReport]:
    if tasks:
        from stages.panorama_task import cache_panoramas

        groups: defaultdict[str, list[PanoramaTask]] = defaultdict(list)
        for task in tasks:
            groups[equal.first(task.panorama.id)].append(task)
        at_once = panoramas_at_once(tasks[0].device)
        for reports in run_tasks(cache_panoramas, [*groups.values()], workers, scheduler, at_once, _lost):
            yield from reports


def _require_matching_workers(scheduler: str, recipe: Recipe, prints: Mapping[str, str]) -> None:
    """Make sure that what a cluster's workers compute is what the fingerprints name.

    Raises:
        WorkerError: one has no project or another version of it, or other weights, or lacks them.
    """
    for worker, answer in run_on_workers(scheduler, fingerprints, recipe).items():
        if answer == prints or isinstance(answer, OSError):  # OSError: it is just going
            continue
        difference = "another version of the project, or other weights"
        if isinstance(answer, Exception):
            difference = answer.found if isinstance(answer, GoodSAMError) else first_line(answer)
        raise WorkerError(f"the worker {worker} differs from this machine ({difference})",
                          "it must have the same project, and the same weights under the same paths",
                          "Update it to match this machine, or remove it from the cluster")  # fmt: skip


def _split_gpu_memory(recipe: Recipe, device: str, workers: int) -> Recipe:
    """The recipe as each of some workers has it: on a GPU SAM's memory is that of all of them."""
    if workers < 2 or device == "cpu":
        return recipe
    import torch

    from pipeline.accelerator import device_errors
    from pipeline.teacher.generator.memory import GIB, free_memory

    with device_errors("take fewer workers"):
        memory_gib = recipe.sam.memory_gib or free_memory(torch.device(device)) / GIB
    return replace(recipe, sam=replace(recipe.sam, memory_gib=memory_gib / workers))


def _lost(tasks: Sequence[PanoramaTask], error: WorkerError) -> list[StageOneReport]:
    from stages.panorama_task import StageOneReport

    return [StageOneReport(task.panorama.id, failed=failure(STAGE_ONE, task.panorama.id, error)) for task in tasks]


def panoramas_at_once(device: str) -> int:
    """Panoramas at the same time in one process."""
    return 1 if device == "cpu" else 2


def digests_of_own_masks(masks: IgnoreMasks, panoramas: Sequence[SplitPanorama]) -> dict[str, str]:
    """Digest of each panorama's mask, by its id, where there is a folder of masks.

    Raises:
        InputError: a mask cannot be read.
    """
    of_files = {mask: digest(mask) for mask in set(masks.by_path.values())}
    return {p.id: of_files[masks.by_path[p.path]] for p in panoramas if p.path in masks.by_path}


def _record(run: Run, prints: Mapping[str, str]) -> None:
    """Make the run that of this recipe; not before a panorama of it is cached, so that settings that fail leave the
    record of those that worked."""
    run.record_recipe()
    write_manifest(run, prints)


def _equal_note(equal: EqualPanoramas) -> str:
    if not equal.repeated:
        return ""
    many = "panoramas have" if equal.repeated > 1 else "panorama has"
    return f"{equal.repeated} {many} the same content as another: the cache has it once"
