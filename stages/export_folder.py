"""The folder that `goodsam export` writes: what it holds, and what is done in it.

<out>/
    export.json            what the folder is: run, split, size, format
    .export/log.jsonl      every event
    .export/<id>.json      of each panorama that is done: what it was made from, its files, facts for the tables
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from stages.files import read_json, write_whole

DESCRIPTION = "export.json"
_RECORDS = ".export"
_KIND = "goodsam export"
_OWN = (_RECORDS, ".export.lock")
"""Files that an export has before it says what it is."""


@dataclass(frozen=True)
class ExportKind:
    """What all panoramas of one export folder have in common."""

    run: str
    """Name of the run."""
    split: str
    """panoramas, evaluation, or all."""
    size: str
    """original or working."""
    format: str
    """masks, coco, ..."""


@dataclass(frozen=True)
class ExportFolder:
    """A folder of exported panoramas."""

    path: Path
    """The folder; it need not be there."""

    def claim(self, kind: ExportKind) -> None:
        """Make it the folder of an export of this kind.

        Raises:
            InputError: as `require`.
            CacheError: it cannot be written.
        """
        self.require(kind)
        if self._kind() is None:
            write_whole(self.path / DESCRIPTION, json.dumps({"kind": _KIND, **asdict(kind)}, indent=1))

    def require(self, kind: ExportKind) -> None:
        """Refuse the folder where it is not one for an export of this kind; nothing is written.

        Raises:
            InputError: it holds something else, or an export of another kind.
        """
        found = self._kind()
        if found is None:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"{self.path} is a file", "an export is a folder", "Choose another output folder")
            others = [file.name for file in self.path.iterdir() if file.name not in _OWN] if self.path.is_dir() else []
            if others:
                raise InputError(f"{self.path} holds other files ({sorted(others)[0]})",
                                 "an export needs a folder of its own, new or empty",
                                 "Choose another output folder")  # fmt: skip
        elif found != kind:
            differs = ", ".join(f"{key} {value}" for key, value in asdict(found).items() if value != getattr(kind, key))
            wanted = ", ".join(f"{key} {getattr(kind, key)}" for key in asdict(kind)
                               if getattr(kind, key) != getattr(found, key))  # fmt: skip
            raise InputError(f"{self.path} holds an export of {differs}", f"this one is of {wanted}",
                             "Choose another output folder")  # fmt: skip

    def _kind(self) -> ExportKind | None:
        """What the folder says it is; None if it says nothing."""
        try:
            about = read_json(self.path / DESCRIPTION)
            return ExportKind(**about) if about.pop("kind", "") == _KIND else None
        except TypeError:
            return None

    def record(self, name: str) -> dict[str, Any]:
        """What was noted of a panorama; empty if it is not done."""
        return read_json(self._record_file(name))

    def is_done(self, name: str, made_of: Mapping[str, str], wanted: frozenset[str]) -> bool:
        """Whether a panorama's files of all wanted kinds are there, made from what it is made of now."""
        record = self.record(name)
        return (made_of.items() <= record.get("made_of", {}).items()
                and wanted <= record.get("files", {}).keys()
                and all((self.path / file).is_file() for file in record["files"].values()))  # fmt: skip

    def is_since(self, name: str, seconds: float) -> bool:
        """Whether a panorama was marked done at a time or later; `seconds` since 1970."""
        try:
            return self._record_file(name).stat().st_mtime >= seconds
        except OSError:
            return False

    def note_origin(self, name: str, made_of: Mapping[str, str]) -> None:
        """Write down that a panorama's files are made from this, where its record says less of it.

        Raises:
            CacheError: the folder cannot be written.
        """
        write_whole(self._record_file(name), json.dumps({**self.record(name), "made_of": dict(made_of)}))

    def finish(self, name: str, made_of: Mapping[str, str], files: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        """Mark a panorama done, once its files are there. Other files of before stay if they were made from the same,
        and are removed if not.

        Args:
            name: of the panorama.
            made_of: what its files were made from.
            files: path relative to the folder by kind of output.
            facts: more that is known of it, as values for JSON.

        Raises:
            CacheError: the folder cannot be written.
        """
        before = self.record(name)
        earlier: dict[str, str] = before.get("files", {})
        if before.get("made_of") == dict(made_of):
            files = {**earlier, **files}
        stale = set(earlier.values()) - set(files.values())
        record = {"made_of": dict(made_of), "files": dict(files), "facts": dict(facts)}
        write_whole(self._record_file(name), json.dumps(record))
        for file in stale:
            (self.path / file).unlink(missing_ok=True)

    def records(self, made_of: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and records of the panoramas that are done and made from this, sorted by name."""
        folder = self.path / _RECORDS
        for file in sorted(folder.rglob("*.json")):
            name = file.relative_to(folder).as_posix().removesuffix(".json")
            record = self.record(name)
            if made_of.items() <= record.get("made_of", {}).items():
                yield name, record

    def _record_file(self, name: str) -> Path:
        return self.path / _RECORDS / f"{name}.json"


def require_outside(out: Path, folders: list[Path]) -> None:
    """Refuse an output folder inside a folder of panoramas, or around one.

    Raises:
        InputError: it is.
    """
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{out} lies inside {folder}",
                             "outputs must not be mistaken for panoramas in the next run",
                             "Choose an output folder outside it")  # fmt: skip


def size_of_export(folder: Path) -> str:
    """Which size the maps of an export have, original or working; empty for what is not an export."""
    return str(read_json(folder / DESCRIPTION).get("size", ""))
