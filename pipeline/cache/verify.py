"""Whether everything in a store is still as it was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.cache.failures import DamagedError, MissingError
from pipeline.cache.store import TeacherStore


@dataclass(frozen=True)
class Entry:
    """One panorama's group in the store."""

    product: str
    """Name of the product."""
    fingerprint: str
    """Fingerprint of the settings that made it."""
    panorama_id: str
    """Id of the panorama."""


@dataclass(frozen=True)
class Problem:
    """A panorama that cannot be read in full."""

    entry: Entry
    """Which one."""
    found: str
    """What is wrong with it, in a sentence that names it."""


def entries(store: TeacherStore) -> Iterator[Entry]:
    """Every panorama that lies in the store, done or damaged, product by product."""
    for product in store.products():
        for fingerprint in store.fingerprints(product):
            ids = store.ids(product, fingerprint) + store.damaged(product, fingerprint)
            yield from (Entry(product, fingerprint, panorama_id) for panorama_id in sorted(ids))


def verify_entry(store: TeacherStore, entry: Entry) -> Problem | None:
    """Read everything of one panorama; the problem if it is damaged. One that is not there has none.

    Raises:
        CacheError: the file system fails, so that nobody knows.
    """
    try:
        store.read(entry.product, entry.fingerprint, entry.panorama_id)
    except DamagedError as error:
        return Problem(entry, error.found)
    except MissingError:
        pass
    return None


def discard(store: TeacherStore, problems: Iterable[Problem]) -> None:
    """Remove the damaged panoramas, so that stage one does them again.

    Raises:
        CacheError: the store is read-only.
    """
    for problem in problems:
        store.discard(problem.entry.product, problem.entry.fingerprint, problem.entry.panorama_id)
