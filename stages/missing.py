"""Which panoramas of a recipe stage one has yet to do: what is cached is looked at, and is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock

from pipeline.cache.store import TeacherStore
from pipeline.errors import InputError
from stages.events import Listener, report_if_slow
from stages.files import digest
from stages.panorama_records import PanoramaRecord, PanoramaRecords, record_of, size_and_time
from stages.products import all_products
from stages.splits import SplitPanorama

_THREADS = 4
"""They wait for the disk side by side: 26 files per panorama are looked at, which cold or far away take their time."""
_AT_ONCE = 64
"""Panoramas that a thread takes at a time."""


class StoredProducts:
    """Which products of a panorama the store has, under certain fingerprints."""

    def __init__(self, store: TeacherStore, prints: Mapping[str, str]) -> None:
        """Load the indexes of the products of which `prints` has the fingerprint."""
        made = [product for product in all_products() if product.name in prints]
        self._indexes = {product: store.mark_index(product.stored_as, prints[product.name]) for product in made}

    def missing_of(self, record: PanoramaRecord) -> tuple[str, ...]:
        """Names of the products that the store lacks of a panorama; every index is asked, and so knows it."""
        return tuple(p.name for p, index in self._indexes.items() if not index.is_done(record.entry(p)))

    def save(self) -> None:
        """Keep what the indexes know.

        Raises:
            CacheError: the file system fails.
        """
        for index in self._indexes.values():
            index.save()


class CachedPanoramas:
    """What the store holds of a run's panoramas."""

    def __init__(self, store: TeacherStore, prints: Mapping[str, str], records: PanoramaRecords) -> None:
        """Load the indexes of all products.

        Args:
            store: open for writing.
            prints: fingerprint of every product that the recipe has.
            records: what the run knows of its panoramas.
        """
        self._records = records
        self._sizes: dict[str, int] = {}
        self._current: set[str] = set()
        self._one_at_a_time = Lock()
        self._stored = StoredProducts(store, prints)
        self._is_empty = not any(
            store.has_any(product.stored_as, prints[product.name])
            for product in all_products()
            if product.name in prints
        )

    def missing(
        self, panoramas: Sequence[SplitPanorama], own_masks: Mapping[str, str], stage: str, listener: Listener
    ) -> list[SplitPanorama]:
        """The panoramas that are not complete.

        Pictures of the place, size and time of change that the run has recorded are not read: 10,000 are some 100 GB.
        Others are read once, unless the store is empty: in another folder, other pictures may have both.

        Args:
            panoramas: those of the recipe.
            own_masks: digest of each panorama's ignore mask, by its id, where there is a folder of masks.
            stage: who asks.
            listener: hears how far it is, should it take long.

        Raises:
            CacheError: the file system fails.
        """

        def look(few: Sequence[SplitPanorama]) -> list[bool]:
            return [self._is_complete(panorama, own_masks.get(panorama.id, "")) for panorama in few]

        threads = ThreadPoolExecutor(_THREADS)
        try:
            batches = [panoramas[start : start + _AT_ONCE] for start in range(0, len(panoramas), _AT_ONCE)]
            complete = chain.from_iterable(threads.map(look, batches))
            asked = report_if_slow(panoramas, f"{stage}: looking at the cache", "panoramas", listener)
            found = [panorama for panorama in asked if not next(complete)]
        finally:
            threads.shutdown(cancel_futures=True)  # an interrupted user does not wait for the rest
        self._stored.save()
        return found

    def size(self, panorama: SplitPanorama) -> int:
        """Bytes of a panorama's file when `missing` looked at it; 0 for one that could not be looked at."""
        return self._sizes.get(panorama.id, 0)

    def known_digest(self, panorama: SplitPanorama) -> str:
        """SHA-256 of a panorama's file where `missing` found it recorded or read it; else empty."""
        return self._records[panorama.id].sha256 if panorama.id in self._current else ""

    def learn(self, panoramas: Iterable[SplitPanorama]) -> None:
        """Have the indexes know what is stored of these by now.

        Raises:
            CacheError: the file system fails.
        """
        for panorama in panoramas:
            if record := self._records.get(panorama.id):
                self._stored.missing_of(record)
        self._stored.save()

    def _is_complete(self, panorama: SplitPanorama, ignore_mask_sha256: str) -> bool:
        record = self._current_record(panorama, ignore_mask_sha256)
        if record is None:
            return False
        with self._one_at_a_time:
            self._records.add(panorama.id, record)
            self._current.add(panorama.id)
        return not self._stored.missing_of(record)

    def _current_record(self, panorama: SplitPanorama, ignore_mask_sha256: str) -> PanoramaRecord | None:
        """What the panorama's file and mask are now; None where nobody knows and reading would not help."""
        before = size_and_time(panorama.path)
        self._sizes[panorama.id] = before[0]
        known = self._records.get(panorama.id)
        if known is not None and known.is_of(panorama.path, before):
            as_before = (known.path, known.ignore_mask_sha256) == (str(panorama.path), ignore_mask_sha256)
            return known if as_before else record_of(panorama.path, known.sha256, ignore_mask_sha256, before)
        if self._is_empty:
            return None
        try:
            return record_of(panorama.path, digest(panorama.path), ignore_mask_sha256, before)
        except InputError:  # the task says what is wrong with the file
            return None
