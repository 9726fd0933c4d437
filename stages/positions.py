"""A table of where panoramas were taken (`goodsam predict --positions FILE.csv`), for pictures without such tags.

Columns are found by their usual names, in any order and case; others are passed over. A row belongs to the panorama of
its path, with or without suffix; where there is none, to that of its file's name, if only one row and one panorama have
that name.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError, counted
from pipeline.panorama.capture import Capture, position_doubt
from pipeline.panorama.finding import SUFFIXES, folded_name

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "panorama", "file", "filename", "file_name", "filepath", "image", "name", "id"),
    "latitude": ("latitude", "lat", "y"),
    "longitude": ("longitude", "lon", "lng", "long", "x"),
    "altitude": ("altitude", "alt", "elevation", "height", "z"),
    "heading": ("heading", "bearing", "compass", "compass_angle", "yaw", "direction"),
    "time": ("time", "timestamp", "datetime", "date_time", "captured_at"),
}
"""Names of columns that are understood; the first that is there counts."""
_REQUIRED = ("path", "latitude", "longitude")
_NUMBERS = ("latitude", "longitude", "altitude", "heading")
_SHOWN = 3


@dataclass(frozen=True)
class Positions:
    """The rows of a table, by panorama."""

    source: Path
    by_name: Mapping[str, Capture]
    """By folded path without suffix."""
    by_stem: Mapping[str, str]
    """The same paths by their last part, where it is unique."""
    not_by_name: set[str] = field(default_factory=set[str], repr=False, compare=False)
    """Rows that `notes` has found to be a panorama's by its path, or to fit several by their names."""

    def of(self, panorama_id: str, tags: Capture) -> Capture:
        """Where and when a panorama was taken: by the table where that says it, else by its own tags."""
        key = self._key(panorama_id)
        if key is None:
            return tags
        listed = self.by_name[key]
        altitude = tags.altitude if listed.altitude is None else listed.altitude
        heading = tags.heading if listed.heading is None else listed.heading
        time = listed.time or tags.time
        if listed.latitude is None:  # a row of a picture that nobody could place
            return replace(tags, altitude=altitude, heading=heading, time=time)
        return Capture(listed.latitude, listed.longitude, altitude, heading, time)

    def notes(self, panorama_ids: Iterable[str]) -> list[str]:
        """What the user should know of rows and panoramas that have no counterpart, a sentence each; from then on, no
        row is given to two of these panoramas.

        Raises:
            InputError: not one row belongs to a panorama.
        """
        ids = list(panorama_ids)
        self.not_by_name.update(map(folded_name, ids))
        of_rows: dict[str, list[str]] = {}
        for panorama_id in ids:
            of_rows.setdefault(self._key(panorama_id) or "", []).append(panorama_id)
        several = {key: found for key, found in of_rows.items() if key and len(found) > 1}
        self.not_by_name.update(several)
        keys = {panorama_id: self._key(panorama_id) for panorama_id in ids}
        used = set(filter(None, keys.values()))
        unused = sorted(self.by_name.keys() - used - several.keys())
        if not used and not several:
            found = f"{self.source} has no row for any of the {counted(len(keys), 'panorama')}"
            raise InputError(f"{found} (its first row is for {unused[0]})",
                             "rows are matched by path or file name, with or without suffix",
                             "Correct the column path, or name the table of this folder")  # fmt: skip
        without = sorted(panorama_id for panorama_id, key in keys.items() if key is None)
        notes = [f"{self.source.name} has no row for {_count(without, len(keys), 'panoramas')}"] if without else []
        notes += [f"{self.source.name} has one row {key}, and {len(found)} panoramas have that name: write the path "
                  f"of the one that is meant, as {found[0]}" for key, found in sorted(several.items())]  # fmt: skip
        if unused:
            notes.append(f"{self.source.name} has rows without a panorama: {_listed(unused)}")
        return notes

    def _key(self, panorama_id: str) -> str | None:
        key = folded_name(panorama_id)
        if key in self.by_name:
            return key
        row = self.by_stem.get(key.rpartition("/")[2])
        return None if row in self.not_by_name else row


def read_positions(path: Path) -> Positions:
    """Read a table of positions: CSV with a header, separated by commas, semicolons or tabs; where these are no
    commas, numbers may have a decimal comma.

    Raises:
        InputError: it cannot be read, lacks a column, names a panorama twice, or has a position that cannot be right.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise InputError(f"{path} cannot be read ({why})", "--positions must be a CSV file in UTF-8",
                         "Check the path, or save it again") from error  # fmt: skip
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read ({error})", "--positions must be a CSV file",
                         "Save it again") from error  # fmt: skip
    places = _places([cell.strip().casefold() for cell in rows[0]] if rows else [], path)
    by_name: dict[str, Capture] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if any(cell.strip() for cell in row[len(rows[0]) :]):
            raise _wrong(path, number, f"{len(row)} cells", f"its first row has {len(rows[0])}; numbers have a decimal "
                         "point, and texts with a comma stand in quotes")  # fmt: skip
        cells = {name: row[place].strip() if place < len(row) else "" for name, place in places.items()}
        key = _key_of(cells["path"])
        if key in by_name:
            raise _wrong(path, number, f"{cells['path']} a second time", "every panorama has one row")
        if separator != ",":  # then commas are decimal ones, as spreadsheets of half of the world write them
            cells = {name: cell.replace(",", ".") if name in _NUMBERS else cell for name, cell in cells.items()}
        by_name[key] = _capture(cells, path, number)
    if not by_name:
        raise InputError(f"{path} has no rows", "it must have one for every panorama", "Name the table of positions")
    stems = {key: key.rpartition("/")[2] for key in by_name}
    count = Counter(stems.values())
    return Positions(path, by_name, {stem: key for key, stem in stems.items() if count[stem] == 1})


def _places(header: Sequence[str], path: Path) -> dict[str, int]:
    """Position of each known column that is there."""
    found = {
        name: header.index(known)
        for name, aliases in COLUMNS.items()
        if (known := next((alias for alias in aliases if alias in header), None)) is not None
    }
    missing = " or ".join(name for name in _REQUIRED if name not in found)
    if missing:
        raise InputError(f"{path} has no column {missing} (its columns: {', '.join(header) or 'none'})",
                         "the first row names the columns: path, latitude, longitude, and perhaps altitude, heading, "
                         "time", "Correct its first row")  # fmt: skip
    return found


def _capture(cells: Mapping[str, str], path: Path, number: int) -> Capture:
    numbers = {name: _number(cells.get(name, ""), name, path, number)
               for name in _NUMBERS}  # fmt: skip
    latitude, longitude = numbers["latitude"], numbers["longitude"]
    if (latitude is None) != (longitude is None):
        raise _wrong(path, number, "half a position", "a row has both latitude and longitude, or neither")
    if latitude is not None and longitude is not None and (doubt := position_doubt(latitude, longitude)):
        raise _wrong(path, number, doubt, "latitudes are -90 to 90 degrees and longitudes -180 to 180 (WGS 84)")
    heading = numbers["heading"]
    return Capture(latitude, longitude, numbers["altitude"], None if heading is None else heading % 360,
                   _time(cells.get("time", ""), path, number))  # fmt: skip


def _number(text: str, name: str, path: Path, row: int) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _wrong(path, row, f"the {name} {text!r}", "it is a number with a decimal point")
    return number


def _time(text: str, path: Path, row: int) -> str:
    if not text:
        return ""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise _wrong(path, row, f"the time {text!r}", "times are ISO 8601, as 2026-05-01T12:30:00+02:00") from None


def _wrong(path: Path, row: int, found: str, expected: str) -> InputError:
    return InputError(f"{path} has {found} in row {row}", expected, "Correct that row")


def _key_of(name: str) -> str:
    pure = PurePosixPath(name.replace("\\", "/"))
    return folded_name((pure.with_suffix("") if pure.suffix.lower() in SUFFIXES else pure).as_posix())


def _count(names: Sequence[str], of: int, what: str) -> str:
    return f"{len(names)} of {of} {what}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
