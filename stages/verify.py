"""Reading a run's whole cache, to find and remove what is damaged."""

from __future__ import annotations

import time

from pipeline.cache.store import TeacherStore
from pipeline.cache.verify import Problem, discard, entries, verify_entry
from stages.claims import claimed
from stages.events import Listener, Note, StageAdvanced, StageFinished, StageStarted, silent
from stages.runs import Run


def verify_run(run: Run, listener: Listener = silent, *, remove: bool = False) -> list[str]:
    """Read a run's whole cache; one sentence per damaged panorama, which `remove` deletes so that it is done again, and
    per damaged group above them, the store's own included, which it writes anew.

    Raises:
        CacheError: there is no cache, or the file system cannot give or delete what is in it; to remove, that stage one
            is at work on it, which may have mended meanwhile what was found damaged.
    """
    store = TeacherStore.open(run.store, "r", undescribed=True)
    if not remove:
        return _damaged_groups(store) + [problem.found for problem in _problems(store, listener)]
    with claimed(run.folder, "teacher-cache"):
        problems = _problems(store, listener)
        groups = _damaged_groups(store)
        writable = TeacherStore.open(run.store, "a", undescribed=True)
        discard(writable, problems)
        for file in store.damaged_groups():
            writable.mend_group(file)
    return groups + [problem.found for problem in problems]


def _damaged_groups(store: TeacherStore) -> list[str]:
    return [
        f"{file} is missing or damaged; plain zarr cannot read what lies below it" for file in store.damaged_groups()
    ]


def _problems(store: TeacherStore, listener: Listener) -> list[Problem]:
    began = time.monotonic()
    stored = list(entries(store))
    if not stored:
        listener(
            Note("verify", "the teacher cache is empty: there was nothing to check; `goodsam teacher-cache` fills it")
        )
    listener(StageStarted("verify", len(stored), "entries"))
    problems: list[Problem] = []
    for done, entry in enumerate(stored, start=1):
        started = time.monotonic()
        if (problem := verify_entry(store, entry)) is not None:
            problems.append(problem)
        listener(StageAdvanced("verify", done, entry.panorama_id, time.monotonic() - started))
    listener(StageFinished("verify", time.monotonic() - began, {"entries": len(stored)}))
    return problems
