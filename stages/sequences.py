"""The way of the camera as lines: panoramas of one folder in the order of their times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.tables import PanoramaRow

LONGEST_GAP = 300.0
"""Seconds between two panoramas of one line; after a longer pause another line begins."""
LONGEST_STEP = 500.0
"""Metres between two panoramas of one line."""
_EARTH_RADIUS = 6_371_008.8
"""Metres, mean."""


@dataclass(frozen=True)
class _Stop:
    """A panorama on the way."""

    time: datetime
    """For the order; without an offset, as if it were UTC."""
    written: str
    """The time as the tags have it."""
    longitude: float
    latitude: float


def sequence_features(rows: Sequence[PanoramaRow]) -> list[dict[str, Any]]:
    """A GeoJSON feature per line of at least two panoramas, with folder, number of panoramas, times and length."""
    folders: dict[str, list[_Stop]] = {}
    for row in rows:
        if (stop := _stop(row)) is not None:
            folders.setdefault(row.path.rpartition("/")[0], []).append(stop)
    return [
        _feature(folder, line)
        for folder, stops in sorted(folders.items())
        for line in _lines(sorted(stops, key=lambda stop: stop.time))
        if len(line) > 1
    ]


def _stop(row: PanoramaRow) -> _Stop | None:
    capture = row.capture
    if capture.latitude is None or capture.longitude is None or not capture.time:
        return None
    time = datetime.fromisoformat(capture.time)
    comparable = time if time.tzinfo else time.replace(tzinfo=UTC)
    return _Stop(comparable, capture.time, capture.longitude, capture.latitude)


def _lines(stops: Sequence[_Stop]) -> Iterator[list[_Stop]]:
    """Stops in order, cut where time or place leap."""
    line = list(stops[:1])
    for before, after in pairwise(stops):
        if (after.time - before.time).total_seconds() > LONGEST_GAP or metres(before, after) > LONGEST_STEP:
            yield line
            line = []
        line.append(after)
    yield line


def metres(a: _Stop, b: _Stop) -> float:
    """Great-circle distance (haversine)."""
    north, south = math.radians(a.latitude), math.radians(b.latitude)
    rise, turn = north - south, math.radians(a.longitude - b.longitude)
    half = math.sin(rise / 2) ** 2 + math.cos(north) * math.cos(south) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_RADIUS * math.asin(math.sqrt(min(1.0, half)))


def _feature(folder: str, line: Sequence[_Stop]) -> dict[str, Any]:
    parts = _at_the_date_line(line)
    whole = {"type": "LineString", "coordinates": parts[0]}
    geometry = whole if len(parts) == 1 else {"type": "MultiLineString", "coordinates": parts}
    length = sum(metres(before, after) for before, after in pairwise(line))
    properties = {"folder": folder, "panoramas": len(line), "begin": line[0].written,
                  "end": line[-1].written, "metres": round(length, 1)}  # fmt: skip
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _at_the_date_line(line: Sequence[_Stop]) -> list[list[list[float]]]:
    """Coordinates of a line, cut where it crosses the 180th meridian (RFC 7946, 3.1.9)."""
    parts = [[_coordinates(line[0].longitude, line[0].latitude)]]
    for before, after in pairwise(line):
        if abs(after.longitude - before.longitude) > 180:
            edge = math.copysign(180, before.longitude)
            across = after.longitude + 2 * edge - before.longitude
            share = (edge - before.longitude) / across if across else 0.0
            latitude = before.latitude + share * (after.latitude - before.latitude)
            parts[-1].append(_coordinates(edge, latitude))
            parts.append([_coordinates(-edge, latitude)])
        parts[-1].append(_coordinates(after.longitude, after.latitude))
    return parts


def _coordinates(longitude: float, latitude: float) -> list[float]:
    return [round(longitude, 7), round(latitude, 7)]
