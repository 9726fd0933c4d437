"""The done marks of a product, in one file: asking whether 10,000 panoramas are done then parses no mark.

The index is a hint. What it says of a panorama counts only while the mark's file has the size, times and inode that it
had when it was parsed, and the sizes of the chunks are looked at every time. It lies beside the store, and is made anew
where it is lost, damaged or of another form.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from pipeline.cache.group import GROUP, chunk_file
from pipeline.cache.mark import Mark, folder_name

_FORM = 2
"""Version of the file's form; other ones are made anew."""
_COARSEST_CLOCK_NS = 2_000_000_000
"""The longest time for which two changes of a file may have the same time (FAT; most file systems: milliseconds)."""

_Row = list[Any]
"""Of a mark: size, times of change (of content, of anything), inode, number of its layout, chunk sizes."""


class MarkIndex:
    """The index of one product under one fingerprint; of one process at a time, whose threads may ask side by side."""

    def __init__(self, file: Path, folder: Path, parse: Callable[[str], Mark | None]) -> None:
        """Load the index.

        Args:
            file: where it lies; it need not be there.
            folder: of the product and fingerprint, in the store.
            parse: gives the mark of a panorama, by its id, if it is done; asked where the index does not know.
        """
        self._file, self._folder, self._parse = file, str(folder), parse
        self._layouts: list[list[str]] = []
        self._rows: dict[str, _Row] = {}
        self._trusted_before_ns = 0
        self._is_changed = False
        self._one_at_a_time = Lock()
        with suppress(OSError, ValueError):
            self._load()

    def is_done(self, panorama_id: str) -> bool:
        """As `TeacherStore.is_done`.

        Raises:
            CacheError: the file system fails.
        """
        folder = f"{self._folder}/{folder_name(panorama_id)}"
        row = self._rows.get(panorama_id)
        with suppress(OSError):  # parsing says what is wrong
            if row is not None and row[2] < self._trusted_before_ns and self._is_as_parsed(folder, row):
                return True
        return self._is_done_by_mark(folder, panorama_id)

    def save(self) -> None:
        """Write the index if it learned something; where that cannot be, the next run has more to parse."""
        if not self._is_changed:
            return
        text = json.dumps([_FORM, self._layouts, self._rows], separators=(",", ":"))
        partial = self._file.with_name(f"{uuid.uuid4().hex}.partial")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(f"{_checksum(text.encode())}\n{text}")
            partial.replace(self._file)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._is_changed = False

    def _load(self) -> None:
        checksum, _, text = self._file.read_bytes().partition(b"\n")
        if checksum.decode() != _checksum(text):
            raise ValueError("the index is damaged")
        form, *content = json.loads(text)
        if form == _FORM:
            layouts, rows = content
            self._layouts, self._rows = layouts, rows
            # A mark that changed just before the index was written may have changed once more without another time.
            self._trusted_before_ns = self._file.stat().st_mtime_ns - _COARSEST_CLOCK_NS

    def _is_as_parsed(self, folder: str, row: _Row) -> bool:
        stat = os.stat  # of a text: it costs a fraction of what a Path does, and is asked 26 times per panorama
        if _stamp(stat(f"{folder}/{GROUP}")) != row[:4]:
            return False
        for file, size in zip(self._layouts[row[4]], row[5], strict=True):
            if stat(folder + file).st_size != size:
                return False
        return True

    def _is_done_by_mark(self, folder: str, panorama_id: str) -> bool:
        stamp: list[int] = []
        with suppress(OSError):
            stamp = _stamp(os.stat(f"{folder}/{GROUP}"))  # before it is parsed: a change meanwhile shows next time  # noqa: PTH116
        mark = self._parse(panorama_id)
        with self._one_at_a_time:
            self._learn(panorama_id, stamp, mark)
        return mark is not None

    def _learn(self, panorama_id: str, stamp: list[int], mark: Mark | None) -> None:
        self._is_changed |= mark is not None or panorama_id in self._rows
        if mark is None:
            self._rows.pop(panorama_id, None)
        elif stamp:
            stored = {name: record for name, record in mark.arrays.items() if 0 not in record.shape}
            layout = [f"/{name}/{chunk_file(record.shape)}" for name, record in stored.items()]
            sizes = [record.stored_bytes for record in stored.values()]
            self._rows[panorama_id] = [*stamp, self._layout_number(layout), sizes]

    def _layout_number(self, layout: list[str]) -> int:
        if layout not in self._layouts:
            self._layouts.append(layout)
        return self._layouts.index(layout)


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
