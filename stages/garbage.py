"""What lies in a cache and no run refers to: found, and removed if asked."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.cache.mark import folder_name
from pipeline.cache.schema import MASKS
from pipeline.cache.store import TeacherStore
from pipeline.errors import RERUN_STAGE_ONE, CacheError, counted, first_few
from stages.claims import tidying
from stages.files import writing
from stages.manifest import read_record
from stages.panorama_records import PanoramaRecords
from stages.products import all_products, stored_as
from stages.results import known_results
from stages.runs import ASSISTANTS, EVALUATIONS, RECORD, STORE, STUDENTS, refuse_old_layout, run_folders
from stages.tune_masks import MASKS_FILE, MaskEntries


@dataclass(frozen=True)
class Garbage:
    """A folder that no run of the cache refers to."""

    path: Path
    """The folder."""
    reason: str
    """Why nothing refers to it, for people."""
    size: int
    """Bytes on the disk."""
    remove: Callable[[], None]
    """Removes it."""


def find_garbage(cache: Path) -> list[Garbage]:
    """What no run of a cache refers to: products of settings that no run has now, panoramas that no run has any more,
    students, evaluations and adapted assistants of runs that were deleted, and what killed writers left. Masks that
    `goodsam tune` found belong to its run while the run has its folder `tune`; what lies in the folders of runs is
    theirs, and never found.

    Raises:
        CacheError: there is no such cache, or a run's record is damaged, so that nobody knows what it refers to.
    """
    if not cache.is_dir():
        raise CacheError(f"{cache} does not exist", "it must be the folder of the runs", "Correct --cache")
    folders = run_folders(cache)
    for folder in folders:
        refuse_old_layout(folder)
    return [*_of_store(cache, folders), *_of_results(cache, folders)]


def remove_garbage(cache: Path) -> list[Garbage]:
    """Remove what `find_garbage` finds, and return it.

    Raises:
        CacheError: as there; a stage is at work in the cache; or the system refused.
    """
    with tidying(cache):
        found = find_garbage(cache)
        for garbage in found:
            with writing(garbage.path):
                garbage.remove()
    return found


def _of_store(cache: Path, folders: list[Path]) -> Iterator[Garbage]:
    if not (cache / STORE).exists():
        return
    store = TeacherStore.open(cache / STORE, "a", undescribed=True)
    manifests = [read_record(file) for folder in folders if (file := folder / "teacher.json").is_file()]
    of_searches = {key for file in cache.glob(f"*/tune/{MASKS_FILE}") for key in MaskEntries(file).known}
    current = {(stored_as(name), about["fingerprint"]) for manifest in manifests for name, about in manifest.items()}
    current |= {(MASKS, fingerprint) for fingerprint, _ in of_searches}
    entries = _entries_of(folders) | {folder_name(entry) for _, entry in of_searches}
    for product in store.products():
        for name in store.fingerprints(product):
            folder = cache / STORE / product / name  # as the user names the cache, for what is printed
            if (product, name) not in current:
                reason = f"{product} of settings that no run has now"
                yield Garbage(folder, reason, _size(folder), partial(store.remove_fingerprint, product, name))
                continue
            for entry in folder.iterdir():
                if entry.is_dir() and entry.name not in entries:
                    reason = f"{product} of a panorama that no run has now"
                    yield Garbage(entry, reason, _size(entry), partial(_remove_folder, entry))
    writing_folder = cache / f"{STORE}.writing"
    if writing_folder.exists() and _size(writing_folder):
        remove = partial(_remove_folder, writing_folder)
        yield Garbage(writing_folder, "what killed processes were writing", _size(writing_folder), remove)


def _entries_of(folders: list[Path]) -> set[str]:
    records = [record for folder in folders for record in _records_of(folder / "panoramas.jsonl").values()]
    return {folder_name(record.entry(product)) for record in records for product in all_products()}


def _records_of(file: Path) -> PanoramaRecords:
    records = PanoramaRecords(file)
    if records.damaged:
        raise CacheError(f"{file} has {counted(len(records.damaged), 'damaged line')} ({first_few(records.damaged)})",
                         "it must say which panoramas the run has", RERUN_STAGE_ONE)  # fmt: skip
    return records


def _of_results(cache: Path, folders: list[Path]) -> Iterator[Garbage]:
    results = [known_results(folder) for folder in folders]
    referred: Mapping[str, set[str]] = {
        STUDENTS: {
            *(name for result in results for name in result.students),
            *_networks_of_recipes(cache / STUDENTS, folders),
        },
        EVALUATIONS: {name for result in results for name in result.evaluations},
        ASSISTANTS: {
            *(name for result in results for name in result.assistants),
            *_networks_of_recipes(cache / ASSISTANTS, folders),
        },
    }
    for kind, names in referred.items():
        for folder in sorted((cache / kind).glob("*")):
            if folder.is_dir() and _is_fingerprint(folder.name) and folder.name not in names:
                reason = f"{kind.removesuffix('s')} that no run has"
                yield Garbage(folder, reason, _size(folder), partial(_remove_folder, folder))


def _is_fingerprint(name: str) -> bool:
    """Whether a stage has named a folder; others are people's, such as those that `goodsam train-assistant` writes."""
    return re.fullmatch("[0-9a-f]{16}", name) is not None


def _networks_of_recipes(kind: Path, folders: list[Path]) -> Iterator[str]:
    """Students or adapted assistants of the cache that a run's recipe names, be it as the assistant or as initial
    weights of its student: another run may have made them.

    Args:
        kind: the folder of all of them.
        folders: of the runs.
    """
    own = kind.resolve()
    for folder in folders:
        with suppress(
            OSError, ValueError, KeyError
        ):  # not parsed as a recipe: that of an earlier version has other settings
            table = tomllib.loads((folder / RECORD).read_text(encoding="utf-8"))
            names = [one["name"] for one in (table["assistant"], *table.get("further_assistants", ()))]
            for name in (*names, table.get("student", {}).get("weights", "")):
                network = Path(str(name)).resolve()
                if own in network.parents:
                    yield network.relative_to(own).parts[0]


def _remove_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
