"""Reading a whole cache, to find and remove what is damaged."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import Problem, discard, entries, verify_entry
from stages.claims import tidying
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted, silent
from stages.panorama_records import PanoramaRecords
from stages.products import all_products
from stages.runs import Run

STAGE = "verify"


def verify(run: Run, listener: Listener = silent, *, remove: bool = False) -> list[str]:
    """Read the whole cache that a run shares; one sentence per damaged panorama, which `remove` deletes so that it is
    done again, and per damaged group above them, the store's own included, which it writes anew.

    Args:
        run: recipe and folder.
        listener: hears the events.
        remove: whether to remove what is damaged.

    Raises:
        CacheError: there is no cache, or the file system cannot give or delete what is in it; to remove, that a stage
            is at work on it, which may have repaired meanwhile what was found damaged.
    """
    store = TeacherStore.open(run.store, "r", undescribed=True)
    names = _panorama_names(run)
    if not remove:
        return _damaged_groups(store) + [_sentence(problem, names) for problem in _problems(store, names, listener)]
    with tidying(run.cache):
        problems = _problems(store, names, listener)
        groups = _damaged_groups(store)
        writable = TeacherStore.open(run.store, "a", undescribed=True)
        discard(writable, problems)
        for file in store.damaged_groups():
            writable.mend_group(file)
    return groups + [_sentence(problem, names) for problem in problems]


def _damaged_groups(store: TeacherStore) -> list[str]:
    return [
        f"{file} is missing or damaged; plain zarr cannot read what lies below it" for file in store.damaged_groups()
    ]


def _panorama_names(run: Run) -> Mapping[str, str]:
    """Ids of all panoramas that the runs of the cache have recorded, by the name of their entries in the store."""
    records = [item for file in run.cache.glob("*/panoramas.jsonl") for item in PanoramaRecords(file).items()]
    return {record.entry(product): panorama_id for panorama_id, record in records for product in all_products()}


def _sentence(problem: Problem, names: Mapping[str, str]) -> str:
    entry = problem.entry.panorama_id
    return f"{names[entry]}: {problem.found}" if entry in names else problem.found


def _problems(store: TeacherStore, names: Mapping[str, str], listener: Listener) -> list[Problem]:
    began = time.monotonic()
    stored = list(entries(store))
    if not stored:
        listener(
            Note(STAGE, "the teacher cache is empty: there was nothing to check; `goodsam teacher-cache` fills it")
        )
    listener(StageStarted(STAGE, len(stored), "entries"))
    problems: list[Problem] = []
    for done, entry in enumerate(stored, start=1):
        started = time.monotonic()
        if (problem := verify_entry(store, entry)) is not None:
            problems.append(problem)
        name = names.get(entry.panorama_id, entry.panorama_id)
        listener(StageAdvanced(STAGE, done, name, time.monotonic() - started))
    listener(StageFinished(STAGE, time.monotonic() - began, {"entries": len(stored)}))
    return problems
