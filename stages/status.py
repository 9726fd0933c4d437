"""How far a run is: panoramas done, stale, missing and set aside, student and evaluation. Nothing is written."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.cache.store import TeacherStore
from pipeline.errors import GoodSAMError, InputError, counted, first_few
from pipeline.panorama.ignore_masks import IgnoreMasks
from stages.json_lines import read_lines
from stages.manifest import read_record, what_differs
from stages.missing import StoredProducts
from stages.panorama_records import PanoramaRecords, size_and_time
from stages.products import STAGE_ONE, fingerprints, products_of
from stages.runs import Run
from stages.splits import SplitContents, SplitPanorama, survey_splits
from stages.students import StudentFolder
from stages.teacher_cache import digests_of_own_masks

DONE, STALE, MISSING, SET_ASIDE = "done", "stale", "missing", "set aside"
_NONE = "0" * 16
"""Fingerprint under which nothing is stored."""
_CURVES_HEAD, _CURVES_TAIL = 12, 4
"""Bytes around each record of a file of curves: its length and checksums."""
_SHOWN = 10
"""Set-aside panoramas that are listed for people; --json has all."""


@dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    run: str
    """Its name."""
    folder: str
    """Its folder."""
    panoramas: dict[str, int]
    """Number of panoramas by state: done, stale (of other settings, or the picture or its ignore mask has changed),
    missing, set aside."""
    to_compute: dict[str, int]
    """For how many panoramas each product is still to be computed."""
    changes: dict[str, str]
    """What the recipe has other than the cache, by product."""
    set_aside: dict[str, str]
    """Why, by panorama."""
    problems: list[str]
    """What keeps stage one from running, a sentence each."""
    student: str
    """Of the latest student: "finished", "step 500 of 20000", or empty for none."""
    evaluation: dict[str, float] = field(default_factory=dict[str, float])
    """mIoU of the latest evaluation by rung, 0..1."""
    notes: list[str] = field(default_factory=list[str])
    """What stage one mends by itself when it runs, a sentence each."""


@dataclass(frozen=True)
class PanoramaStates:
    """State of every panorama, for a plan."""

    by_id: Mapping[str, str]
    """done, stale, missing or set aside."""
    missing: Mapping[str, tuple[str, ...]]
    """Products that are to be computed, by panorama."""
    found: list[SplitPanorama]
    """All panoramas that are no broken files."""
    prints: Mapping[str, str]
    """Fingerprint of every product; of the record where weights are not at hand."""
    set_aside: dict[str, str]
    """Why, by panorama."""
    problems: list[str]
    """What keeps stage one from running."""
    notes: list[str]
    """As of `RunStatus`."""
    masks: IgnoreMasks
    """The ignore mask of each panorama; none where they cannot be used, which is one of the problems."""
    own_masks: Mapping[str, str]
    """Digest of each panorama's ignore mask, by its id, where there is a folder of masks."""

    def masks_of(self, panorama: SplitPanorama) -> tuple[str, str]:
        """(File of a panorama's ignore mask, its digest where there is a folder of masks); empty for none."""
        return str(self.masks.of(panorama.path) or ""), self.own_masks.get(panorama.id, "")


def run_status(run: Run) -> RunStatus:
    """How far a run is.

    Raises:
        InputError: its folders of panoramas are not there, or empty.
        CacheError: its record is damaged, or the file system fails.
    """
    states = panorama_states(run)
    counts = Counter(states.by_id.values())
    to_compute = Counter(product for products in states.missing.values() for product in products)
    return RunStatus(
        run=run.recipe.name,
        folder=str(run.folder),
        panoramas={state: counts[state] for state in (DONE, STALE, MISSING, SET_ASIDE)},
        to_compute={product.name: to_compute[product.name] for product in products_of(run.recipe)},
        changes=what_differs(run),
        set_aside=states.set_aside,
        problems=states.problems,
        student=_student(run),
        evaluation=_evaluation(run),
        notes=states.notes,
    )


def panorama_states(run: Run) -> PanoramaStates:
    """State of every panorama of a run; the store is only looked at.

    Raises:
        InputError, CacheError: as `run_status`.
    """
    contents = survey_splits(run.recipe)
    prints, problems = _fingerprints(run)
    masks, own_masks, unusable = _ignore_masks(run, contents)
    problems += unusable
    known = PanoramaRecords(run.panoramas)
    failures = _last_failures(run.folder / "log.jsonl")
    earlier = _recorded_fingerprints(run)
    store = TeacherStore.open(run.store, "r") if run.store.is_dir() else None
    stored = StoredProducts(store, prints) if store and prints else None
    stored_earlier = StoredProducts(store, earlier) if store and earlier else None
    by_id: dict[str, str] = dict.fromkeys(contents.set_aside, SET_ASIDE)
    missing: dict[str, tuple[str, ...]] = {}
    set_aside = dict(contents.set_aside)
    every = tuple(product.name for product in products_of(run.recipe))
    for panorama in contents.panoramas:
        record = known.get(panorama.id)
        unchanged = record is not None and size_and_time(panorama.path) == (record.size, record.modified_ns)
        own_mask = record.ignore_mask_sha256 if unusable and record else own_masks.get(panorama.id, "")
        now = replace(record, ignore_mask_sha256=own_mask) if record and unchanged else None
        lacks = stored.missing_of(now) if stored and now else every
        if not lacks:
            by_id[panorama.id] = DONE
            continue
        missing[panorama.id] = lacks
        was_done = bool(record and stored_earlier and not stored_earlier.missing_of(record))
        by_id[panorama.id] = STALE if was_done else MISSING
        failed = failures.get(panorama.id)
        if not was_done and failed and not _has_changed_since(panorama.path, float(failed.get("time") or 0)):
            by_id[panorama.id] = SET_ASIDE
            set_aside[panorama.id] = str(failed.get("error"))
            del missing[panorama.id]
    notes = _about_damaged_lines(run.panoramas, known.damaged)
    return PanoramaStates(by_id, missing, contents.panoramas, prints, set_aside, problems, notes, masks, own_masks)


def _about_damaged_lines(file: Path, numbers: Sequence[int]) -> list[str]:
    if not numbers:
        return []
    return [f"{file} has {counted(len(numbers), 'damaged line')} ({first_few(numbers)}), passed over: `goodsam "
            "teacher-cache` looks at these panoramas again, and computes nothing that is in the store"
            ]  # fmt: skip


def _ignore_masks(run: Run, contents: SplitContents) -> tuple[IgnoreMasks, Mapping[str, str], list[str]]:
    """The panoramas' ignore masks, the digest of each one's own by its id, and what keeps them from being used."""
    try:
        masks = contents.ignore_masks(run.recipe)
        return masks, digests_of_own_masks(masks, contents.panoramas), []
    except InputError as error:
        return IgnoreMasks(), {}, [str(error)]


def _fingerprints(run: Run) -> tuple[Mapping[str, str], list[str]]:
    """Fingerprints of all products, and what is wrong. Networks that are not at hand are not downloaded: then what the
    run has recorded counts, unless settings differ."""
    files = [item for product in products_of(run.recipe) for item in product.files(run.recipe).items()]
    try:
        if all(file.is_at_hand for _, file in files):
            return fingerprints(run.recipe), []
        for key, file in files:
            if key == "sam.checkpoint":
                file.content()
        problems: list[str] = []
    except GoodSAMError as error:
        problems = [str(error)]
    recorded, changed = dict(_recorded_fingerprints(run)), set(what_differs(run))
    recorded = (
        {product.name: recorded.get(product.name, _NONE) for product in products_of(run.recipe)} if recorded else {}
    )
    for product in products_of(run.recipe):
        if product.name in changed or changed.intersection(product.inputs):
            changed.add(product.name)
            recorded[product.name] = _NONE
    return recorded, problems


def _recorded_fingerprints(run: Run) -> Mapping[str, str]:
    if not run.manifest.is_file():
        return {}
    recorded = read_record(run.manifest)
    return {name: about["fingerprint"] for name, about in recorded.items()}


def _last_failures(log: Path) -> dict[str, dict[str, Any]]:
    """Panoramas that the last stage one set aside, each with the event that says why; later success clears it."""
    found: dict[str, dict[str, Any]] = {}
    for event in log_events(log):
        if event.get("stage") != STAGE_ONE:
            continue
        if event.get("event") == "StageStarted":
            found.clear()
        elif event.get("event") == "ItemFailed":
            found[str(event.get("item"))] = event
    return found


def _has_changed_since(path: Path, seconds: float) -> bool:
    """Whether a file, be it one with an old time of change that was put in its place, is younger than a time, seconds
    since 1970."""
    try:
        status = path.stat()
    except OSError:
        return False
    return max(status.st_mtime, status.st_ctime) > seconds


def log_events(log: Path) -> list[dict[str, Any]]:
    """The events of a log, without lines that are damaged."""
    with suppress(OSError):
        return list(read_lines(log))
    return []


def _student(run: Run) -> str:
    student = StudentFolder(run.student)
    if student.is_finished:
        return "finished"
    return f"step {steps_done(student)} of {run.recipe.distill.steps}" if student.path.is_dir() else ""


def steps_done(student: StudentFolder) -> int:
    """Steps of an unfinished student's training, up to the last one of which it has drawn curves."""
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[attr-defined]  # here, as it takes a moment

    files = sorted((student.path / "tensorboard").glob("events.*"), key=lambda file: file.stat().st_mtime)
    steps, content, place = 0, files[-1].read_bytes() if files else b"", 0
    while place + _CURVES_HEAD < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        record = content[place + _CURVES_HEAD :][:length]
        if len(record) < length:  # a kill has cut it short
            break
        steps = Event.FromString(record).step
        place += _CURVES_HEAD + length + _CURVES_TAIL
    return steps


def _evaluation(run: Run) -> dict[str, float]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        metrics = json.loads((run.evaluation / "metrics.json").read_text(encoding="utf-8"))
        return {rung["name"]: rung["miou"] for rung in metrics["ladder"] if rung["miou"] is not None}
    return {}


def status_text(status: RunStatus) -> str:
    """The status for a terminal."""
    counts = status.panoramas
    lines = [f"run {status.run} ({status.folder})",
             "panoramas   " + ", ".join(f"{counts[state]} {state}" for state in counts)]  # fmt: skip
    if any(status.to_compute.values()):
        lines.append("to compute  " + ", ".join(f"{name} of {number}" for name, number in status.to_compute.items()))
    lines += [f"changed     {name}: {what}" for name, what in status.changes.items()]
    lines += [f"problem     {problem}" for problem in status.problems]
    lines += [f"note        {note}" for note in status.notes]
    lines += [f"set aside   {name}: {reason}" for name, reason in list(status.set_aside.items())[:_SHOWN]]
    if len(status.set_aside) > _SHOWN:
        lines.append(f"            and {len(status.set_aside) - _SHOWN} more (--json lists all)")
    lines.append(f"student     {status.student or 'none'}")
    if status.evaluation:
        rungs = ", ".join(f"{name} {100 * value:.1f}" for name, value in status.evaluation.items())
        lines.append(f"mIoU, %     {rungs}")
    return "\n".join(lines)
