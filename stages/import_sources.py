"""Corrected labels as labelling tools give them back: a folder of PNGs, an export of CVAT or of Label Studio."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.classes import LabelSet
from pipeline.errors import InputError, counted
from pipeline.exchange.cvat import read_cvat
from pipeline.exchange.labelstudio import read_labelstudio
from pipeline.exchange.regions import LabelledPicture
from stages.corrections import pixels_digest
from stages.export_folder import DESCRIPTION, size_of_export
from stages.export_formats import DATASET_FOLDER
from stages.export_task import LABELS, OUTPUTS, PARTS, RELIABLE
from stages.label_files import PIXELS, read_notes
from stages.label_ids import read_ids

_XML = "annotations.xml"
_OTHER_KINDS = (".bmp", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp")
"""Endings of pictures that are no PNGs."""
_DAMAGED = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError)
"""What Python raises for archives that are damaged, locked by a password, or compressed in a way that it lacks."""
_EXPECTED = "it must be a folder of PNGs, or an export of CVAT (annotations.xml) or Label Studio (JSON), also as .zip"


@dataclass(frozen=True)
class Incoming:
    """One picture of what is imported."""

    name: str
    """The picture as the source calls it."""
    picture: LabelledPicture | None = None
    """Its labels; None where they are refused, or as they were exported."""
    refused: InputError | None = None
    """Why they cannot be used."""


def incoming(source: Path, labels: LabelSet) -> Iterator[Incoming]:
    """The labelled pictures of a folder or file, one at a time.

    Raises:
        InputError: it is nothing that can be imported, or an export that is damaged.
    """
    if source.is_dir():
        yield from _of_folder(source, labels)
    elif source.suffix.lower() == ".zip":
        yield from _of_zip(source, labels)
    elif source.suffix.lower() in (".xml", ".json") and source.is_file():
        yield from _of_export(source.name, _bytes_of(source), labels)
    else:
        found = f"{source} does not exist" if not source.exists() else f"{source} cannot be imported"
        raise InputError(found, _EXPECTED, "Check the path")


def _of_folder(folder: Path, labels: LabelSet) -> Iterator[Incoming]:
    if (folder / _XML).is_file():
        yield from _of_export(_XML, _bytes_of(folder / _XML), labels)
        return
    root = folder / "labels" if (folder / DESCRIPTION).is_file() and (folder / "labels").is_dir() else folder
    files = [path for path in _pngs(root) if not _is_other_map(path)]
    if not files:
        exports = [path for path in sorted(folder.glob("*.json")) if path.name not in (DESCRIPTION, "labels.json")]
        if len(exports) == 1:
            yield from _of_export(exports[0].name, _bytes_of(exports[0]), labels)
            return
        raise InputError(
            f"{folder} has no PNG that holds labels, {_XML} or single JSON file",
            _EXPECTED,
            "Name the folder of corrections",
        )
    for path in files:
        yield _of_png(path, path.relative_to(root).as_posix(), labels)
    yield from _of_other_kinds(root, {path.stem for path in files})


def _pngs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".png" and path.is_file())


def _is_other_map(path: Path) -> bool:
    """Whether a PNG is a map of an export that holds no labels, or the reliable part of labels that it has too."""
    out = next((parent for parent in path.parents if size_of_export(parent)), None)
    if out is None:
        return False
    output, *more = path.relative_to(out).parts
    if output == DATASET_FOLDER and more:
        out, output = out / DATASET_FOLDER, more[0]
    is_only = output == RELIABLE and not (out / LABELS).is_dir()
    return output in {**OUTPUTS, **PARTS} and output != LABELS and not is_only


def _of_other_kinds(root: Path, stems: Collection[str]) -> Iterator[Incoming]:
    """Pictures of other kinds, set aside: labels that somebody has saved so. Where a PNG has the name, it is the
    labels."""
    for path in sorted(root.rglob("*")):
        is_picture = path.suffix.lower() in _OTHER_KINDS and path.is_file() and path.stem not in stems
        if is_picture and not _is_other_map(path):
            yield Incoming(path.relative_to(root).as_posix(), refused=InputError(
                f"{path.name} is no PNG", "corrections are 8-bit PNG files of class ids or colours", "Save it as one"
            ))  # fmt: skip


def _of_png(path: Path, name: str, labels: LabelSet) -> Incoming:
    try:
        labels_hw = read_ids(path, labels)
    except InputError as error:
        return Incoming(name, refused=error)
    notes = read_notes(path)
    if notes.get(PIXELS) == pixels_digest(labels_hw):
        return Incoming(name)
    return Incoming(name, LabelledPicture(name, labels_hw, str(notes.get("source", ""))))


def _of_zip(path: Path, labels: LabelSet) -> Iterator[Incoming]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
            wanted = [name for name in names if PurePosixPath(name).name == _XML] or [
                name for name in names if name.endswith(".json")
            ]
            if len(wanted) != 1:
                found = f"{len(wanted)} exports" if wanted else f"{counted(len(names), 'file')} and no known export"
                remedy = "If it holds PNGs, unpack it and name their folder" if not wanted else "Import them one by one"
                raise InputError(f"{path.name} holds {found}", _EXPECTED, remedy)
            content = archive.read(wanted[0])
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be unpacked ({error})", _EXPECTED, "Export the annotations again") from error
    yield from _of_export(wanted[0], content, labels)


def _of_export(name: str, content: bytes, labels: LabelSet) -> Iterator[Incoming]:
    if name.endswith(".xml"):
        pictures = read_cvat(content, labels, name)
    else:
        try:
            tasks: Any = json.loads(content)
        except ValueError as error:
            raise InputError(f"{name} is damaged ({error})", "it must be a JSON export of Label Studio",
                             "Export the annotations again") from error  # fmt: skip
        pictures = read_labelstudio(tasks, labels, name)
    for picture in pictures:
        yield Incoming(picture.name, picture)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", _EXPECTED, "Check its permissions") from error
