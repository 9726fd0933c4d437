"""Which panoramas of a recipe stage one has yet to do: what is cached is looked at, and is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.cache.store import Part, TeacherStore
from pipeline.errors import InputError
from stages.events import Listener, tell_if_slow
from stages.files import SOURCE_STAMP, digest, source_stamp
from stages.runs import IGNORE_MASK, Fingerprints, has_own_mask
from stages.splits import SplitPanorama

_SHA256 = "source_sha256"
_ASKED = (_SHA256, *SOURCE_STAMP, IGNORE_MASK)
"""What of a done mark's provenance decides whether its panorama is done."""


class CachedPanoramas:
    """What the store holds of panoramas, by the indexes of its done marks."""

    def __init__(self, store: TeacherStore, prints: Fingerprints) -> None:
        """Load the indexes of the three parts of a store that is open for writing."""
        self._store, self._prints = store, prints
        self._indexes = {part: store.mark_index(part, prints.of(part), _ASKED) for part in Part}

    def missing(
        self, panoramas: Sequence[SplitPanorama], own_masks: Mapping[str, str], stage: str, listener: Listener
    ) -> list[SplitPanorama]:
        """The panoramas that are not complete.

        Args:
            panoramas: those of the recipe.
            own_masks: digest of each panorama's ignore mask, by its id, where there is a folder of masks.
            stage: who asks.
            listener: hears how far it is, should it take long.

        Raises:
            CacheError: the file system fails.
        """
        asked = tell_if_slow(panoramas, f"{stage}: looking at the cache", "panoramas", listener)
        found = [panorama for panorama in asked if not self._is_complete(panorama, own_masks.get(panorama.id, ""))]
        self._save()
        return found

    def known_digest(self, panorama: SplitPanorama) -> str:
        """SHA-256 of a panorama's file if the store holds masks of it as it is, which is told by its size and time of
        change; else empty.

        Raises:
            CacheError: the file system fails.
        """
        made_from = self._indexes[Part.MASKS].made_from(panorama.id)
        stamp = source_stamp(panorama.path)
        return str(made_from[_SHA256]) if made_from and stamp and stamp.items() <= made_from.items() else ""

    def learn(self, panoramas: Iterable[SplitPanorama]) -> None:
        """Have the indexes know what is stored of these by now.

        Raises:
            CacheError: the file system fails.
        """
        for panorama in panoramas:
            for index in self._indexes.values():
                index.made_from(panorama.id)
        self._save()

    def _save(self) -> None:
        for index in self._indexes.values():
            index.save()

    def _is_complete(self, panorama: SplitPanorama, ignore_mask_sha256: str) -> bool:
        """Whether all parts are done and made from the files as they are. A picture of the size and time of change that
        the done marks name is not read: 10,000 panoramas are some 100 GB. One that was read and is the same after all
        has its size and time noted in them."""
        done: dict[Part, Mapping[str, object]] = {}
        for part, index in self._indexes.items():
            made_from = index.made_from(panorama.id)
            if made_from is None or not has_own_mask(part, made_from, ignore_mask_sha256):
                return False
            done[part] = made_from
        stamp = source_stamp(panorama.path)  # before it is read: what is written to it meanwhile shows next time
        others = [part for part, made_from in done.items() if not stamp.items() <= made_from.items()]
        if stamp and not others:
            return True
        try:
            source = digest(panorama.path)
        except InputError:  # the task says what is wrong with the file
            return False
        if any(made_from.get(_SHA256) != source for made_from in done.values()):
            return False
        for part in others:
            self._store.add_provenance(part, self._prints.of(part), panorama.id, stamp)
            self._indexes[part].made_from(panorama.id)  # it has another mark now
        return True
