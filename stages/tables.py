"""Tables of predicted panoramas with their places, for geographic information systems and spreadsheets.

<out>/
    panoramas.csv        a row per panorama: where and when, shares of what was seen, indices, doubt
    panoramas.geojson    the same as points (RFC 7946); a panorama without a position has no geometry
    sequences.geojson    the way of the camera per folder, where positions and times are known
    panoramas.qml        QGIS style of the points: the class that covers most, in the label set's colours
    labels.qml           QGIS style of the label maps
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classes import LabelSet
from pipeline.evaluate.indices import green_view_index, seen_shares
from pipeline.panorama.capture import Capture
from stages.files import write_whole
from stages.qgis import labels_style, points_style
from stages.sequences import sequence_features

LARGEST = "largest_class"
"""Column of the class that covers most of what was seen."""
_DECIMALS = {"latitude": 7, "longitude": 7, "altitude": 2, "heading": 2}
"""Of numbers in the tables; all others have 6. Seven of a degree are a centimetre."""

TABLE_FILES = ("panoramas.csv", "panoramas.geojson", "sequences.geojson", "panoramas.qml", "labels.qml")


@dataclass(frozen=True)
class PanoramaRow:
    """What the tables say of one panorama."""

    path: str
    """Its file, relative to its folder of panoramas."""
    capture: Capture
    """Where and when it was taken."""
    seen: float
    """Share of the sphere that the picture shows and that is not ignored."""
    shares: tuple[float, ...]
    """Share of the whole view per class, and last what was not seen (`metrics.class_shares`)."""
    sky_view_factor: float | None
    """See `pipeline.evaluate.indices`."""
    doubt: float | None
    """1 - the mean probability of the most probable class over what was seen."""
    vertical_fov: float | None = None
    """Degrees around the horizon that the networks took the canvas to cover; None where nobody noted it."""

    def columns(self, labels: LabelSet) -> dict[str, Any]:
        """The row, by column; None where nothing is known."""
        seen = seen_shares(self.shares)
        largest = None if seen is None else labels.names[int(np.argmax(seen))]
        shares = [None] * len(labels) if seen is None else seen.tolist()
        place = {key: value for key, value in asdict(self.capture).items() if key != "doubt"}
        values = {
            "path": self.path, **place, "time": self.capture.time or None,
            "vertical_fov": self.vertical_fov, "seen": self.seen,
            "green_view_index": green_view_index(self.shares, labels), "sky_view_factor": self.sky_view_factor,
            "doubt": self.doubt, LARGEST: largest, **dict(zip(share_columns(labels), shares, strict=True)),
        }  # fmt: skip
        return {key: _rounded(key, value) for key, value in values.items()}


def share_columns(labels: LabelSet) -> list[str]:
    """Names of the columns of the classes' shares: share_road, share_traffic_light, ..."""
    names = [f"share_{re.sub(r'[^0-9a-z]+', '_', name.casefold()).strip('_') or number}"
             for number, name in enumerate(labels.names)]  # fmt: skip
    return [name if names.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(names)]


def write_tables(out: Path, rows: Sequence[PanoramaRow], labels: LabelSet) -> None:
    """Write the tables and styles into a folder.

    Raises:
        CacheError: a file cannot be written.
    """
    columns = [row.columns(labels) for row in rows]
    texts = (_csv(columns), geojson([_point(row) for row in columns]), geojson(sequence_features(rows)),
             points_style(labels, LARGEST), labels_style(labels))  # fmt: skip
    for name, text in zip(TABLE_FILES, texts, strict=True):
        write_whole(out / name, text)


def geojson(features: Sequence[Mapping[str, Any]]) -> str:
    """A feature collection, one feature a line."""
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, allow_nan=False) for feature in features)
    text = f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'
    return text.encode(errors="surrogateescape").decode(errors="replace")  # names of files need not be UTF-8


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    """A panorama as a feature; coordinates are longitude, latitude and, if known, altitude (RFC 7946, 3.1.1)."""
    geometry = None
    if row["latitude"] is not None:
        coordinates = [row["longitude"], row["latitude"], *([row["altitude"]] if row["altitude"] is not None else [])]
        geometry = {"type": "Point", "coordinates": coordinates}
    return {"type": "Feature", "id": row["path"], "geometry": geometry, "properties": dict(row)}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty cell
    return table.getvalue()


def _rounded(key: str, value: object) -> object:
    if not isinstance(value, float):
        return value
    rounded = round(value, _DECIMALS.get(key, 6))
    return rounded % 360 if key == "heading" else rounded  # north is 0, also from a hair to its left
