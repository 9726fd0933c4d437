"""What remains to be computed of a run: panoramas, hours by a measured sample, disk space, memory."""

from __future__ import annotations

import resource
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cache.store import TeacherStore
from pipeline.errors import CacheError, GoodSAMError, counted
from stages.claims import exclusive_lock
from stages.events import Listener, Note
from stages.manifest import describe, what_differs, write_manifest
from stages.panorama_records import PanoramaRecords
from stages.products import STAGE_ONE, fingerprints, products_of
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import SplitPanorama, learning_panoramas
from stages.status import DONE, SET_ASIDE, PanoramaStates, log_events, panorama_states, steps_done

STAGE = "plan"
_GB = 1e9


@dataclass(frozen=True)
class Plan:
    """What a run still takes."""

    run: str
    """Its name."""
    panoramas: int
    """Panoramas of the recipe."""
    done: int
    """Those that are complete."""
    set_aside: int
    """Those that cannot be used."""
    to_compute: dict[str, int]
    """For how many panoramas each product is still to be computed."""
    changes: dict[str, str]
    """Why products of before are computed again, by product."""
    seconds_per_panorama: dict[str, float]
    """Measured time of each product on this machine, in one process; empty where nothing was measured."""
    measured: str
    """What was measured, in words."""
    hours: float | None
    """Time of stage one with `workers` processes; None where nothing was measured."""
    workers: int
    """Processes that the time is for."""
    store_gigabytes: float | None
    """Room that the rest of the store takes; None where no panorama is cached yet."""
    free_gigabytes: float
    """Room on the disk of the cache."""
    memory_gigabytes: float | None
    """Peak memory of one process that computed the sample; None where none was computed."""
    total_memory_gigabytes: float
    """Memory of this machine."""
    distill_hours: float | None
    """Time of the steps of stage two that remain, by an earlier log; None where there is none."""
    problems: list[str]
    """What keeps it from running."""


def make_plan(run: Run, listener: Listener, *, sample: int = 1, workers: int = 0, device: str = "auto") -> Plan:
    """Look at a run and measure a sample of what is missing, which stays in the cache.

    Args:
        run: recipe and folder.
        listener: hears what is measured.
        sample: panoramas to measure; 0 takes the times of an earlier run's log.
        workers: processes that the time is for; 0 and 1 are one.
        device: as `choose_device` takes it.

    Raises:
        InputError: there are no panoramas.
        CacheError: the record or the store is unusable, or stage one is running.
    """
    states = panorama_states(run)
    problems = list(states.problems)
    seconds: dict[str, float] = {}
    measured, memory = "", None
    if states.missing and sample and not problems:
        try:
            seconds, memory = _measure(run, states, sample, device, listener)
            measured = f"{min(sample, len(states.missing))} of the missing panoramas, computed now and kept"
        except GoodSAMError as error:
            problems.append(str(error))
        states = panorama_states(run)
    elif states.missing:
        seconds = _times_of_log(run)
        measured = "the times of the last run of teacher-cache" if seconds else ""
    to_compute = Counter(product for products in states.missing.values() for product in products)
    counts = Counter(states.by_id.values())
    return Plan(
        run=run.recipe.name,
        panoramas=len(states.by_id),
        done=counts[DONE],
        set_aside=counts[SET_ASIDE],
        to_compute={product.name: to_compute[product.name] for product in products_of(run.recipe)},
        changes=what_differs(run),
        seconds_per_panorama=seconds,
        measured=measured,
        hours=_hours(seconds, states, workers) if seconds or not states.missing else None,
        workers=max(1, workers),
        store_gigabytes=_room(run, states),
        free_gigabytes=shutil.disk_usage(_existing(run.cache)).free / _GB,
        memory_gigabytes=memory,
        total_memory_gigabytes=_total_memory(),
        distill_hours=_distill_hours(_steps_to_do(run, states), run.folder / "log.jsonl"),
        problems=problems,
    )


def _measure(
    run: Run, states: PanoramaStates, sample: int, device: str, listener: Listener
) -> tuple[dict[str, float], float]:
    """(Median seconds of each product, peak memory in gigabytes) of some missing panoramas, which are cached."""
    from stages.devices import choose_device
    from stages.panorama_task import cache_panorama
    from stages.panorama_work import PanoramaTask

    wanted = sorted(states.missing, key=lambda id_: (-len(states.missing[id_]), id_))[: max(1, sample)]
    by_id: Mapping[str, SplitPanorama] = {panorama.id: panorama for panorama in states.found}
    device, prints = choose_device(device), fingerprints(run.recipe)
    listener(Note(STAGE, f"measuring {counted(len(wanted), 'panorama')}; the results stay in the cache"))
    times: dict[str, list[float]] = {}
    with exclusive_lock(run.folder, STAGE_ONE, run.cache):
        store = TeacherStore.open(run.store, "a")
        for product in products_of(run.recipe):
            store.describe(product.stored_as, prints[product.name], describe(product, run.recipe))
        records = PanoramaRecords(run.panoramas)
        for id_ in wanted:
            masks = states.masks_of(by_id[id_])
            task = PanoramaTask(by_id[id_], run.recipe, run.store.resolve(), prints, device, 1, *masks)
            report = cache_panorama(task)
            if report.fatal is not None:
                raise report.fatal
            if report.record is not None:
                records.add(report.id, report.record)
                run.record_recipe()
                write_manifest(run, prints)
            if report.failed is not None:
                listener(Note(STAGE, f"{report.id} cannot be used: {report.failed.error}"))
            for name, value in report.product_seconds.items():
                times.setdefault(name, []).append(value)
    if not times:
        raise CacheError("no panorama of the sample could be computed", "the reasons are listed above",
                         "Repair or replace the pictures")  # fmt: skip
    return {name: statistics.median(values) for name, values in times.items()}, _peak_memory()


def _times_of_log(run: Run) -> dict[str, float]:
    """Median seconds of a whole panorama in the last run of stage one that computed any."""
    runs: list[list[float]] = [[]]
    for event in log_events(run.folder / "log.jsonl"):
        if event.get("stage") == STAGE_ONE and event.get("event") == "StageStarted":
            runs.append([])
        elif event.get("stage") == STAGE_ONE and event.get("event") == "StageAdvanced":
            runs[-1] += [seconds] if (seconds := float(event.get("seconds") or 0)) > 0 else []
    last = next(filter(None, reversed(runs)), [])
    return {"all": statistics.median(last)} if last else {}


def _hours(seconds: Mapping[str, float], states: PanoramaStates, workers: int) -> float:
    if "all" in seconds:
        total = seconds["all"] * len(states.missing)
    else:
        total = sum(seconds.get(name, 0.0) for names in states.missing.values() for name in names)
    return total / max(1, workers) / 3600


def _room(run: Run, states: PanoramaStates) -> float | None:
    """Gigabytes that what is missing will take, by the mean of a few cached panoramas."""
    if not states.missing:
        return 0.0
    records = PanoramaRecords(run.panoramas)
    sizes: dict[str, list[int]] = {}
    for panorama_id, state in states.by_id.items():
        if state != DONE or panorama_id not in records:
            continue
        for product in products_of(run.recipe):
            folder = run.store / product.stored_as / states.prints[product.name] / records[panorama_id].entry(product)
            sizes.setdefault(product.name, []).append(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()))
        if all(len(of_product) >= 5 for of_product in sizes.values()):
            break
    if not sizes:
        return None
    mean = {name: statistics.mean(values) for name, values in sizes.items()}
    return sum(mean[name] for names in states.missing.values() for name in names) / _GB


def _steps_to_do(run: Run, states: PanoramaStates) -> int:
    """Steps of stage two that remain; all of them where the student of this recipe has not begun, or will learn from
    panoramas that are still to be computed."""
    steps = run.recipe.distill.steps
    if states.missing or not run.student.is_dir():
        return steps
    from stages.distill import distill_job  # here, as torch takes seconds

    try:
        student = distill_job(run, RunReader.open(run, learning_panoramas(run.recipe))).folder
    except GoodSAMError:  # `goodsam distill` says what is wrong
        return steps
    return 0 if student.is_finished else max(0, steps - steps_done(student))


def _distill_hours(steps: int, log: Path) -> float | None:
    done = [event for event in log_events(log)
            if event.get("stage") == "distill" and event.get("event") == "StageAdvanced"]  # fmt: skip
    usual = [float(event.get("seconds") or 0) for event in done[-200:]]
    if not usual:
        return None if steps else 0.0
    return statistics.median(usual) * steps / 3600


def _peak_memory() -> float:
    """Peak memory of this process, gigabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _GB if sys.platform == "darwin" else peak * 1024 / _GB


def _total_memory() -> float:
    import psutil

    return psutil.virtual_memory().total / _GB


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def plan_text(plan: Plan) -> str:
    """The plan for a terminal."""
    lines = [f"run {plan.run}: {plan.panoramas} panoramas, {plan.done} done, {plan.set_aside} set aside"]
    if any(plan.to_compute.values()):
        lines.append("to compute   " + ", ".join(f"{name} of {number}" for name, number in plan.to_compute.items()))
    lines += [f"changed      {name}: {what}" for name, what in plan.changes.items()]
    if plan.seconds_per_panorama:
        each = ", ".join(f"{name} {value:.1f} s" for name, value in plan.seconds_per_panorama.items())
        lines.append(f"measured     {each} a panorama ({plan.measured})")
    if plan.hours is not None:
        processes = "1 process" if plan.workers == 1 else f"{plan.workers} processes"
        lines.append(f"stage one    {_duration(plan.hours)} in {processes}")
    else:
        lines.append("stage one    unknown: nothing was measured")
    room = plan.store_gigabytes
    more = "unknown until a panorama is cached" if room is None else f"{room:.1f} GB more"
    lines.append(f"disk         {more}; {plan.free_gigabytes:.1f} GB are free")
    if plan.memory_gigabytes is not None:
        total = f"{plan.total_memory_gigabytes:.1f} GB in this machine"
        lines.append(f"memory       {plan.memory_gigabytes:.1f} GB in each process; {total}")
    known = "unknown until it has run some steps" if plan.distill_hours is None else _duration(plan.distill_hours)
    lines.append(f"stage two    {known}")
    lines += [f"problem      {problem}" for problem in plan.problems]
    return "\n".join(lines)


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
