"""What a run knows of its panoramas: which content each has, so that it is found in the store.

One line of `panoramas.jsonl` per panorama, the last one of an id counts. Lines are appended as panoramas are cached; a
run that was killed has lost at most the line that it was writing, and reads that panorama's file again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.files import write_whole
from stages.json_lines import append_line
from stages.products import Product

_BLANK = ""
"""What an empty line holds."""


@dataclass(frozen=True)
class PanoramaRecord:
    """A panorama's file as it was when it was read."""

    path: str
    """Where it lay."""
    sha256: str
    """SHA-256 of its content, hexadecimal."""
    size: int
    """Bytes."""
    modified_ns: int
    """Time of its last change, nanoseconds."""
    ignore_mask_sha256: str = ""
    """SHA-256 of its own ignore mask, where there is a folder of masks and it has one."""

    def is_of(self, path: Path, now: tuple[int, int]) -> bool:
        """Whether a file is the one that was read, and as it was then.

        Args:
            path: the file.
            now: its `size_and_time`.
        """
        if (self.size, self.modified_ns) != now:
            return False
        return self.path == str(path) or Path(self.path).resolve() == path.resolve()

    def entry(self, product: Product) -> str:
        """Name of what the store has of it."""
        return product.entry(self.sha256, self.ignore_mask_sha256)


def record_of(path: Path, sha256: str, ignore_mask_sha256: str, before: tuple[int, int]) -> PanoramaRecord:
    """The record of a file that was read.

    Args:
        path: the file.
        sha256: of what was read.
        ignore_mask_sha256: as in the record.
        before: `size_and_time` of the file before it was read, so that a change meanwhile shows next time.
    """
    return PanoramaRecord(str(path), sha256, *before, ignore_mask_sha256)


def size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds; zeros where the file cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


class PanoramaRecords(Mapping[str, PanoramaRecord]):
    """The records of a run, by the panoramas' ids."""

    def __init__(self, file: Path) -> None:
        """Read what is there; lines that are `damaged` are left out.

        Args:
            file: `panoramas.jsonl`; it need not be there.
        """
        self._file = file
        self._records: dict[str, PanoramaRecord] = {}
        self._lines, damaged = 0, list[int]()
        with suppress(OSError):
            for number, fields in enumerate(_parsed(file.read_bytes().splitlines()), start=1):
                self._lines += 1
                try:
                    panorama_id = fields.pop("id")
                    self._records[panorama_id] = PanoramaRecord(**fields)
                except (TypeError, KeyError, AttributeError):
                    damaged += [] if fields == _BLANK else [number]
        self.damaged = tuple(damaged)
        """Numbers of the damaged lines, from 1; `compact` removes them."""

    def __getitem__(self, panorama_id: str) -> PanoramaRecord:
        return self._records[panorama_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, panorama_id: str, record: PanoramaRecord) -> None:
        """Write down what is known of a panorama now.

        Raises:
            CacheError: the file cannot be written.
        """
        known = self._records.get(panorama_id)
        if known is record or known == record:
            return
        append_line(self._file, _fields(panorama_id, record))
        self._records[panorama_id] = record
        self._lines += 1

    def compact(self, known: Collection[str]) -> None:
        """Leave one line per panorama whose file is still there.

        Args:
            known: ids of panoramas that are there, as far as is known.

        Raises:
            CacheError: the file cannot be written.
        """
        kept = {id_: record for id_, record in self._records.items() if id_ in known or _may_exist(record.path)}
        if len(kept) < self._lines:
            write_whole(self._file, "".join(f"{json.dumps(_fields(id_, own))}\n" for id_, own in kept.items()))
            self._records, self._lines = kept, len(kept)


def _may_exist(path: str) -> bool:
    """Whether a file is there, or its folder may not be looked into."""
    try:
        return Path(path).exists()
    except OSError:
        return True


def _parsed(lines: Sequence[bytes]) -> list[Any]:
    """What each line holds; None for one that is no JSON, _BLANK for one that is empty."""
    with suppress(ValueError):
        together = json.loads(b"[" + b",".join(lines) + b"]")  # many at once take a fraction of the time
        if len(together) == len(lines):
            return together
    return [_parsed_alone(line) for line in lines]


def _parsed_alone(line: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(line) if line.strip() else _BLANK
    return None


def _fields(panorama_id: str, record: PanoramaRecord) -> dict[str, Any]:
    return {"id": panorama_id, **asdict(record)}
