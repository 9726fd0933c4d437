"""The teacher's store: one Zarr folder that all runs of a cache share, written by stage one, read by stage two.

What stage one makes of a panorama are its products (masks, assistant, ensemble), each under a fingerprint of all that
determines it and, below that, under a name of the panorama's content: whoever asks for the same of the same picture
finds it.

What lies in the store is done. A panorama's group is written beside the store (`teacher.zarr.writing/`), synced to the
disk and renamed into place, so whoever is killed while writing leaves nothing behind that could be taken for a result:

    teacher.zarr/zarr.json                                      format and version
    teacher.zarr/<product>/<fingerprint>/zarr.json                 the settings in full, for people
    teacher.zarr/<product>/<fingerprint>/<panorama>/zarr.json      the done mark: arrays, checksums, provenance
    teacher.zarr/<product>/<fingerprint>/<panorama>/<array>/       zarr.json and one chunk: zstd, then CRC32C
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pipeline.cache.failures import GONE, DamagedError, MissingError, looking, reading, writing
from pipeline.cache.group import (
    GROUP,
    MARK,
    mark_if_complete,
    publish,
    read_group,
    read_mark,
    sync,
    write_group,
)
from pipeline.cache.mark import JSON, Array, Mark, folder_name, id_of_folder
from pipeline.cache.mark_index import MarkIndex
from pipeline.errors import RERUN_STAGE_ONE, CacheError

FORMAT = "goodsam teacher cache"
VERSION = 1
_ATTEMPTS = 5
"""At a panorama that others write too, whose beginning removes what is there."""
_DESCRIPTION: Mapping[str, JSON] = {"format": FORMAT, "version": VERSION}
"""Attributes of the store's own group."""


@dataclass(frozen=True)
class TeacherStore:
    """The store of one run; open it with `TeacherStore.open`. It holds no handles: pickle it, fork it, share it."""

    path: Path
    """Its folder."""
    writable: bool
    """Whether it was opened for writing."""

    @classmethod
    def open(cls, path: Path | str, mode: Literal["r", "a"], *, undescribed: bool = False) -> TeacherStore:
        """Open a store for reading ("r"), or for reading and writing ("a"), which makes it if there is none.

        Args:
            path: its folder.
            mode: what it is opened for.
            undescribed: also open one whose own `zarr.json` is lost or damaged, to mend it.

        Raises:
            CacheError: there is none to read or it cannot be made; the folder is something else, or of another version.
        """
        store = cls(Path(path).resolve(), writable=mode == "a")
        if store.writable:
            with writing(store.path):
                store._create_if_empty()
        store._require_format(undescribed)
        return store

    def write(
        self,
        product: str,
        fingerprint: str,
        panorama_id: str,
        arrays: Mapping[str, Array],
        provenance: Mapping[str, JSON],
    ) -> None:
        """Store the arrays of a panorama and mark it done; what was there of it before is replaced.

        Killed at any point, the panorama is done or missing, never in between. Other panoramas may be written
        at the same time by other processes.

        Args:
            product: name of the product that the arrays make up ("masks").
            fingerprint: name of the settings that made them (`pipeline.settings.fingerprint`).
            panorama_id: names the panorama; any text.
            arrays: bool, integer or float arrays by name; encoded ones (see `codec`) carry their encoding's name.
            provenance: what the arrays were made from, kept with the mark.

        Raises:
            CacheError: the store is read-only or the disk full; other panoramas stay done.
            ValueError: no fingerprint or id, or an array of a name (an identifier) or type that is not for the store.
            TypeError: provenance that is no JSON.
        """
        with writing(f"{panorama_id} ({self.path})"):
            self.discard(product, fingerprint, panorama_id)
            self.ensure_fingerprint(product, fingerprint)
            # Another writer of the same panorama may discard what this one has just written, but only as it begins.
            for _ in range(_ATTEMPTS):
                self._write_once(self._folder(product, fingerprint, panorama_id), panorama_id, arrays, provenance)
                if self.is_done(product, fingerprint, panorama_id):
                    return
        raise CacheError(
            f"{panorama_id} vanished from {self.path} while it was written",
            "nothing else removes panoramas meanwhile",
            "Make sure that nobody deletes the run or frees its space (`goodsam gc`), and run it again",
        )

    def _write_once(
        self, folder: Path, panorama_id: str, arrays: Mapping[str, Array], provenance: Mapping[str, JSON]
    ) -> None:
        """Write a panorama beside its place and move it there; one that another writer has put there stays."""
        from pipeline.cache.arrays import write_array  # not above: asking what is done needs no zarr

        staged = self._staged(folder)
        try:
            records = {name: write_array(staged, name, values) for name, values in arrays.items()}
            write_group(staged, {MARK: Mark(panorama_id, records, provenance).to_json()})
            publish(staged, folder)
        except BaseException as error:
            shutil.rmtree(staged, ignore_errors=True)
            if isinstance(error, GONE):
                return  # another writer took this attempt for what a killed one left
            raise
        shutil.rmtree(staged.parent, ignore_errors=True)  # with what killed attempts at this panorama left

    def discard(self, product: str, fingerprint: str, panorama_id: str) -> None:
        """Forget a panorama, at once and as a whole; nothing happens if it is not there.

        Raises:
            CacheError: the store is read-only.
        """
        self._require_writable()
        folder = self._folder(product, fingerprint, panorama_id)
        doomed = self._staged(folder)
        with writing(f"{panorama_id} ({self.path})"), suppress(FileNotFoundError):
            if folder.exists():
                doomed.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(doomed)
                shutil.rmtree(doomed)

    def describe(self, product: str, fingerprint: str, settings: Mapping[str, JSON]) -> None:
        """Keep the settings that a fingerprint stands for beside it, for people; call it before the writers start.

        Raises:
            CacheError: the store is read-only or the disk full.
        """
        self._require_writable()
        with writing(self.path):
            self._ensure_group(self.path / product)
            self._replace_group(self._fingerprint_folder(product, fingerprint), {"settings": dict(settings)})

    def is_done(self, product: str, fingerprint: str, panorama_id: str) -> bool:
        """Whether a panorama is stored and complete.

        Reads one small file and looks at the chunks' sizes; `verify` reads everything.

        Raises:
            CacheError: the file system fails.
        """
        return self.done_mark(product, fingerprint, panorama_id) is not None

    def done_mark(self, product: str, fingerprint: str, panorama_id: str) -> Mark | None:
        """What a panorama's done mark says; None where it is not stored or not complete.

        Raises:
            CacheError: the file system fails.
        """
        mark = _complete_mark(self._folder(product, fingerprint, panorama_id))
        # File systems that ignore case may give another's folder.
        return mark if mark is not None and mark.panorama_id == panorama_id else None

    def mark_index(self, product: str, fingerprint: str) -> MarkIndex:
        """A quicker `is_done` for many panoramas; it lies beside the store (`teacher.zarr.index/`)."""
        folder = self._fingerprint_folder(product, fingerprint)
        return MarkIndex(self._index_file(product, fingerprint), folder, partial(self.done_mark, product, fingerprint))

    def has_any(self, product: str, fingerprint: str) -> bool:
        """Whether anything lies under a product's fingerprint."""
        folder = self._fingerprint_folder(product, fingerprint)
        with looking(folder):
            return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())

    def ids(self, product: str, fingerprint: str) -> list[str]:
        """Ids of the panoramas that are done, sorted."""
        marks = map(_own_mark, _subfolders(self._fingerprint_folder(product, fingerprint)))
        return sorted(mark.panorama_id for mark in marks if mark is not None)

    def damaged(self, product: str, fingerprint: str) -> list[str]:
        """Ids of the panoramas that are there but do not count as done (a copy cut short, a lost chunk, a folder that
        was renamed), sorted."""
        folders = _subfolders(self._fingerprint_folder(product, fingerprint))
        return sorted(id_of_folder(folder.name) for folder in folders if _own_mark(folder) is None)

    def products(self) -> list[str]:
        """Names of the products that are stored, sorted."""
        return sorted(folder.name for folder in _subfolders(self.path))

    def fingerprints(self, product: str) -> list[str]:
        """Fingerprints under which a product was stored, sorted."""
        return sorted(folder.name for folder in _subfolders(self.path / product))

    def remove_fingerprint(self, product: str, fingerprint: str) -> None:
        """Remove all that is stored of a product under a fingerprint; nobody may be writing to it.

        Raises:
            CacheError: the store is read-only, or the system refused.
        """
        self._require_writable()
        folder = self._fingerprint_folder(product, fingerprint)
        doomed = self._staged(folder)
        with writing(folder):
            self._index_file(product, fingerprint).unlink(missing_ok=True)
            doomed.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(doomed)
            shutil.rmtree(doomed)

    def damaged_groups(self) -> list[Path]:
        """The `zarr.json` of the store, its products and fingerprints that are lost, empty or changed: panoramas below
        may be whole, but plain zarr cannot reach them.

        Raises:
            CacheError: the file system fails.
        """
        root = [] if _group_attributes(self.path) else [self.path / GROUP]
        products = sorted(_subfolders(self.path))
        folders = [path for product in products for path in (product, *sorted(_subfolders(product)))]
        return root + [folder / GROUP for folder in folders if _group_attributes(folder) is None]

    def mend_group(self, file: Path) -> None:
        """Write one of `damaged_groups` anew. A fingerprint's settings in full, which only people read, are not known
        here: the next `goodsam teacher-cache` of these settings writes them.

        Raises:
            CacheError: the store is read-only or the disk full.
        """
        self._require_writable()
        with writing(file):
            self._replace_group(file.parent, _DESCRIPTION if file.parent == self.path else {})

    def read(
        self, product: str, fingerprint: str, panorama_id: str, names: Iterable[str] | None = None
    ) -> dict[str, Array]:
        """The arrays of a panorama (all, or those named), every value as it was written.

        Raises:
            MissingError: the panorama is not done.
            CacheError: it has no such array, or the file system fails.
            DamagedError: a file of it is lost, cut short or changed, be it by one bit.
        """
        from pipeline.cache.arrays import read_array  # as in `write`

        mark = self.mark(product, fingerprint, panorama_id)
        folder = self._folder(product, fingerprint, panorama_id)
        arrays: dict[str, Array] = {}
        for name in mark.arrays if names is None else names:
            if name not in mark.arrays:
                raise CacheError(
                    f"{panorama_id} ({product}) has no {name}",
                    f"it has {', '.join(mark.arrays) or 'no array'}",
                    "Ask for one of these, or run `goodsam teacher-cache` with settings that store it",
                )
            with reading(f"{name} of {panorama_id} ({product})"):
                arrays[name] = read_array(folder, name, mark.arrays[name])
        return arrays

    def provenance(self, product: str, fingerprint: str, panorama_id: str) -> Mapping[str, JSON]:
        """What a panorama's arrays were made from.

        Raises:
            CacheError: the panorama is not done.
        """
        return self.mark(product, fingerprint, panorama_id).provenance

    def mark(self, product: str, fingerprint: str, panorama_id: str) -> Mark:
        """The done mark of a panorama: its arrays, and what they were made from.

        Raises:
            MissingError: the panorama is not done.
            DamagedError: the mark is damaged.
            CacheError: the file system fails.
        """
        folder = self._folder(product, fingerprint, panorama_id)
        with looking(folder):
            is_there = folder.exists()
        if not is_there:
            raise MissingError(
                f"{panorama_id} ({product}) is not in {self.path}",
                "stage one must have computed it",
                RERUN_STAGE_ONE,
            )
        with reading(f"the done mark of {panorama_id} ({product})"):
            mark = read_mark(folder)
            if mark.panorama_id != panorama_id:
                raise ValueError(f"it belongs to {mark.panorama_id}")
        return mark

    def ensure_fingerprint(self, product: str, fingerprint: str) -> None:
        """Make the groups of a product and of a fingerprint, if there are none.

        Raises:
            CacheError: the store is read-only or the disk full.
        """
        self._require_writable()
        folder = self._fingerprint_folder(product, fingerprint)
        with writing(folder):
            self._ensure_group(folder.parent)
            self._ensure_group(folder)

    def _fingerprint_folder(self, product: str, fingerprint: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", fingerprint):
            raise ValueError(f"{fingerprint!r} is not a fingerprint")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", product):
            raise ValueError(f"{product!r} is not the name of a product")
        return self.path / product / fingerprint

    def _index_file(self, product: str, fingerprint: str) -> Path:
        return self.path.with_name(f"{self.path.name}.index") / product / f"{fingerprint}.json"

    def _folder(self, product: str, fingerprint: str, panorama_id: str) -> Path:
        return self._fingerprint_folder(product, fingerprint) / folder_name(panorama_id)

    def _staged(self, folder: Path) -> Path:
        """A new name beside the store, on the same file system, for what will become (or was) `folder`."""
        beside = self.path.with_name(f"{self.path.name}.writing")
        return beside / folder.relative_to(self.path) / uuid.uuid4().hex

    def _create_if_empty(self) -> None:
        if self.path.exists() and any(self.path.iterdir()):
            return
        staged = self._staged(self.path)
        write_group(staged, _DESCRIPTION)
        publish(staged, self.path)

    def _ensure_group(self, folder: Path) -> None:
        if not (folder / GROUP).exists():
            self._replace_group(folder, {})

    def _replace_group(self, folder: Path, attributes: Mapping[str, JSON]) -> None:
        staged = self._staged(folder)
        write_group(staged, attributes)
        sync(staged / GROUP)
        folder.mkdir(parents=True, exist_ok=True)
        (staged / GROUP).replace(folder / GROUP)
        staged.rmdir()

    def _require_writable(self) -> None:
        if not self.writable:
            raise CacheError(f"{self.path} is open for reading", "it must be open for writing", "Open it with mode 'a'")

    def _require_format(self, undescribed: bool) -> None:
        with looking(self.path):
            is_there = self.path.exists()
        attributes = _group_attributes(self.path) or {}
        if not is_there:
            raise CacheError(
                f"{self.path} does not exist",
                "`goodsam teacher-cache` makes it",
                "Run that first, or correct the name of the run",
            )
        if not attributes and _subfolders(self.path):
            if undescribed:
                return
            raise DamagedError(
                f"{self.path / GROUP} is missing or damaged",
                "it says what the folder is; the panoramas below it may be whole",
                "Run `goodsam verify RECIPE --discard`, which writes that file again",
            )
        if attributes.get("format") != FORMAT:
            raise CacheError(
                f"{self.path} is not a store of GoodSAM",
                "the folder must be missing, empty or made by `goodsam teacher-cache`",
                "Choose another run, or remove that folder if nobody needs it",
            )
        if attributes.get("version") != VERSION:
            raise CacheError(
                f"{self.path} has format version {attributes.get('version')}",
                f"this program reads version {VERSION}",
                "Use the version of the program that made it, or choose another run",
            )


def _group_attributes(folder: Path) -> Mapping[str, Any] | None:
    with looking(folder), suppress(*GONE, ValueError):
        return read_group(folder)
    return None


def _own_mark(folder: Path) -> Mark | None:
    """The mark of a complete panorama, if the folder is that panorama's."""
    mark = _complete_mark(folder)
    return mark if mark is not None and folder_name(mark.panorama_id) == folder.name else None


def _complete_mark(folder: Path) -> Mark | None:
    with looking(folder):
        return mark_if_complete(folder)


def _subfolders(folder: Path) -> list[Path]:
    with looking(folder):
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
