"""What a report is made from: a folder that `goodsam export` or `goodsam predict` wrote."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from pipeline.classes import LabelSet
from pipeline.errors import InputError
from stages.export_folder import size_of_export
from stages.label_files import MADE_BY, read_notes

WORKING = "working"
TABLE, SHARES, STYLE = "panoramas.csv", "class_shares.csv", "labels.qml"
MAPS: Mapping[str, str] = {
    "labels": ".png",
    "reliable": ".png",
    "reliability": ".png",
    "agreement": ".png",
    "confidence": ".png",
    "masks": ".png",
    "assistant": ".png",
    "unknown": ".png",
    "student": ".png",
    "truth": ".png",
    "overlays": ".jpg",
    "mask-overlays": ".jpg",
    "unknown-overlays": ".jpg",
}
"""Folders of maps that a report shows, and the ending of their files."""
_TEXTS = ("path", "time", "largest_class")
"""Columns of the table that are no numbers."""


@dataclass(frozen=True)
class AddedMap:
    """A label map from elsewhere, which is shown beside a panorama's own maps."""

    path: Path
    """A PNG of class ids."""
    labels: LabelSet
    """Its classes."""
    own_class: tuple[int, ...]
    """The report's class for each of them; IGNORE for none."""
    is_level: bool
    """Whether it is of the level canvas, else of the picture's own pixels."""


@dataclass(frozen=True)
class SourcePanorama:
    """One panorama of the source."""

    id: str
    """Its name in the source: the maps' path without folder and suffix."""
    path: str
    """Its file, relative to its folder of panoramas."""
    figures: Mapping[str, str]
    """The row of panoramas.csv, by column; empty where nothing is known."""
    shares: tuple[float, ...]
    """Share of the whole view per class, and last what was not seen."""
    maps: Mapping[str, Path]
    """The maps that there are, by their folder's name."""
    picture: Path | None
    """The panorama itself, where it is at hand."""
    added: Mapping[str, AddedMap] = field(default_factory=dict[str, AddedMap])
    """Label maps from elsewhere, by their layer; they go before its own of that name."""
    level: str = "tags"
    """`panorama.level` of the run whose level canvas its maps are of."""

    def number(self, column: str) -> float | None:
        """A figure of the table; None where nothing is known."""
        text = self.figures.get(column, "")
        return float(text) if text else None

    @property
    def vertical_fov(self) -> float | None:
        """Degrees around the horizon that the networks took the canvas to cover; None in tables that do not say it."""
        return self.number("vertical_fov")

    @property
    def position(self) -> tuple[float, float] | None:
        """Latitude and longitude, degrees."""
        latitude, longitude = self.number("latitude"), self.number("longitude")
        return None if latitude is None or longitude is None else (latitude, longitude)


@dataclass(frozen=True)
class ReportSource:
    """All that a report tells of."""

    title: str
    """What it is of."""
    labels: LabelSet
    """Names and colours of the classes."""
    panoramas: tuple[SourcePanorama, ...]
    """In the order of the tables."""
    maps_are_level: bool = False
    """Whether maps have the working size, in which tilted cameras are level and parts lie in their place."""
    layer_names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its layers are called, where that is not the usual name."""
    made_by: str = ""
    """What made its label maps, as a person calls that; empty where they do not say it."""
    notes: tuple[str, ...] = ()
    """What it lacks and how to get it, beside what can be seen of its panoramas; a sentence each."""

    def count(self, folder: str) -> int:
        """Panoramas that have a map of a folder."""
        return sum(folder in panorama.maps for panorama in self.panoramas)


def read_source(folder: Path, pictures: Path | None = None, title: str = "") -> ReportSource:
    """Read the tables of a folder of maps, and find its files.

    Args:
        folder: what `goodsam export` or `goodsam predict` wrote.
        pictures: folder of the panoramas, by whose paths the table names them.
        title: what the report is of; by default the folder's name.

    Raises:
        InputError: the folder is no such folder, is empty or damaged; or none of its panoramas is in `pictures`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder",
                         "a report is made from one that `goodsam export` or `goodsam predict` wrote, or from a run's "
                         "recipe", "Check the path")  # fmt: skip
    if not (folder / TABLE).is_file():
        raise InputError(f"{folder} holds no maps ({TABLE} is not there)",
                         "a report is made from a folder that `goodsam export` or `goodsam predict` wrote",
                         "Name such a folder, or a run's recipe")  # fmt: skip
    header, *listed = _rows(folder / TABLE) or [[]]
    shares = {name: own for name, *own in _rows(folder / SHARES)[1:]}  # a class may be called as a column
    labels = _labels(folder / STYLE)
    if not listed:
        raise InputError(f"{folder / TABLE} lists no panoramas", "a report needs at least one",
                         "Run the command that wrote it again, and look at what it sets aside")  # fmt: skip
    try:
        if len(listed) != len(shares):
            raise ValueError(f"{len(listed)} and {len(shares)} rows")
        rows = [dict(zip(header, row, strict=True)) for row in listed]
        panoramas = tuple(_panorama(folder, pictures, row, shares) for row in rows)
        if any(len(panorama.shares) != len(labels) + 1 for panorama in panoramas):
            raise ValueError("numbers of classes differ")
    except (KeyError, ValueError) as error:
        raise InputError(f"{TABLE} and {SHARES} of {folder} do not fit together ({error})",
                         "one command writes both", "Run that command again") from error  # fmt: skip
    if pictures and not any(panorama.picture for panorama in panoramas):
        raise InputError(f"{pictures} holds none of the {len(panoramas)} panoramas (the first is {panoramas[0].path})",
                         "--panoramas is the folder that the maps were made from", "Correct it")  # fmt: skip
    size = size_of_export(folder)
    return ReportSource(title or folder.resolve().name, labels, panoramas, size == WORKING,
                        {"labels": "ensemble"} if size else {}, _made_by(panoramas))  # fmt: skip


def _made_by(panoramas: Sequence[SourcePanorama]) -> str:
    """What the first label map says of its origin; one command writes all of a folder."""
    first = next((path for panorama in panoramas if (path := panorama.maps.get("labels"))), None)
    return str(read_notes(first).get(MADE_BY, "")) if first else ""


def _panorama(
    folder: Path, pictures: Path | None, row: Mapping[str, str], shares: Mapping[str, Sequence[str]]
) -> SourcePanorama:
    """A panorama by its row of the table, wherever people have sorted that, and its shares by its name."""
    name = row["path"].removesuffix(PurePosixPath(row["path"]).suffix)
    if name not in shares:
        raise ValueError(f"only one has {name}")
    for column, text in row.items():
        if column not in _TEXTS and text:
            float(text)
    paths = {kind: folder / kind / f"{name}{suffix}" for kind, suffix in MAPS.items()}
    picture = pictures / row["path"] if pictures else None
    return SourcePanorama(
        name,
        row["path"],
        row,
        tuple(map(float, shares[name])),
        {kind: path for kind, path in paths.items() if path.is_file()},
        picture if picture and picture.is_file() else None,
    )


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:  # spreadsheets add the mark
            return [row for row in csv.reader(file) if row]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})",
                         "a report is made from a folder with the tables of `goodsam export` or `goodsam predict`",
                         "Name such a folder, or a run's recipe") from error  # fmt: skip


def _labels(path: Path) -> LabelSet:
    """Names and colours of the classes, from the style for QGIS that lies beside every table."""
    try:
        entries = [entry for entry in ElementTree.parse(path).iter("paletteEntry") if entry.get("alpha") == "255"]
        colours = [bytes.fromhex(entry.attrib["color"].lstrip("#")) for entry in entries]
        return LabelSet(path.parent.name, tuple(entry.attrib["label"] for entry in entries),
                        tuple((red, green, blue) for red, green, blue in colours), thin=())  # fmt: skip
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is damaged"
        raise InputError(f"{path} cannot be read ({why})",
                         "it has the names and colours of the classes",
                         "Run the command that wrote the folder again") from error  # fmt: skip
