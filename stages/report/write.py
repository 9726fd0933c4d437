"""Write a report: a folder, or a single file.

<out>/
    index.html          the page; it opens offline by double click
    thumbnails/0001.jpg a small picture of every panorama
    viewer/0001.js      its layers for the 360-degree viewer; the first line says what they were made from, and how far
                        its label maps agree
    panoramas.csv       the table of the source
    report.json         says that the folder is a report

Files are numbered, as names of panoramas need not be usable in addresses. A rerun makes only what is missing or has
changed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GoodSAMError, InputError
from pipeline.settings import fingerprint
from stages.claims import exclusive_lock
from stages.events import ItemFailed, Listener, Note, StageAdvanced, StageFinished, StageStarted, failure, silent
from stages.export_folder import require_outside
from stages.files import write_whole
from stages.report.agreement import Agreement
from stages.report.layers import PanoramaLayers, jpeg_uri, panorama_layers
from stages.report.notes import notes_on
from stages.report.page import GENERATOR, PageParts, json_in_html, page_html
from stages.report.source import TABLE, ReportSource, SourcePanorama

STAGE = "report"
VERSION = 3
"""Raised when the code changes what is written of a panorama, so that older files are replaced."""
MARK, PAGE = "report.json", "index.html"
THUMBNAILS, VIEWER = "thumbnails", "viewer"
WIDEST = 4096
"""Of the viewer's layers, pixels: what every graphics card takes."""
_OWN = (".report.lock", "log.jsonl")
"""What a folder may hold before it says that it is a report."""


@dataclass(frozen=True)
class ReportJob:
    """What to report on, and where to."""

    source: ReportSource
    """What was found."""
    folder: Path
    """Folder of the source, whose table is passed on."""
    out: Path
    """Folder of the report, or its file."""
    is_single: bool = False
    """Whether it is one file."""
    with_viewer: bool = True
    """Whether it has the viewer."""
    width: int = 2048
    """Of the viewer's layers, pixels, at most WIDEST."""
    evaluation: str = ""
    """HTML on what was measured; empty for nothing."""
    pictures: tuple[Path, ...] = ()
    """Folders of the pictures; `out` is in none of them."""

    def __post_init__(self) -> None:
        """Raises InputError where the width is out of range, or `out` holds something else or is among pictures."""
        if not 256 <= self.width <= WIDEST:
            raise InputError(f"--width is {self.width}", f"the viewer's layers are 256 to {WIDEST} pixels wide",
                             "Choose such a width")  # fmt: skip
        require_outside(self.out, list(self.pictures))
        require_free(self.out, self.is_single)


@dataclass(frozen=True)
class ReportSummary:
    """Result of a report."""

    page: Path
    """What to open."""
    made: int
    """Panoramas whose pictures were made now."""
    kept: int
    """Those that earlier runs have made."""
    failed: dict[str, str]
    """Name -> one sentence, for those whose pictures cannot be read; their figures are in the report."""


def require_free(out: Path, is_single: bool) -> None:
    """Refuse a place that holds something else than a report.

    Raises:
        InputError: it does.
    """
    if is_single != (out.suffix.lower() in (".html", ".htm")):
        raise InputError(f"{out} is the name of a {'folder' if is_single else 'file'}",
                         "a report is a folder, or with --single a file that ends in .html",
                         f"Name it {out.name}.html" if is_single else "Add --single, or name a folder")  # fmt: skip
    if is_single:
        if out.is_dir() or (out.is_file() and not _is_page(out)):
            raise InputError(f"{out} is {'a folder' if out.is_dir() else 'not a report'}",
                             "--single writes one file and replaces only a report",
                             "Choose another name, such as report.html")  # fmt: skip
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "a report is a folder, or with --single a file", "Choose another name")
    others = [file.name for file in out.iterdir() if file.name not in _OWN] if out.is_dir() else []
    if others and not _is_report(out):
        raise InputError(f"{out} holds other files ({sorted(others)[0]})",
                         "a report needs a folder of its own, new or empty", "Choose another folder")  # fmt: skip


def write_report(job: ReportJob, listener: Listener = silent) -> ReportSummary:
    """Write the report; panoramas whose files cannot be read are told and shown with their figures alone.

    Raises:
        CacheError: it cannot be written, or another report is being written there.
    """
    began = time.monotonic()
    listener(StageStarted(STAGE, len(job.source.panoramas), "panoramas"))
    if job.is_single:
        summary = _write_single(job, listener)
    else:
        with exclusive_lock(job.out, STAGE):
            summary = _write_folder(job, listener)
    for note in notes_on(job.source):
        listener(Note(STAGE, note))
    facts = {"made": summary.made, "kept": summary.kept, "without pictures": len(summary.failed),
             "open": str(summary.page)}  # fmt: skip
    listener(StageFinished(STAGE, time.monotonic() - began, facts))
    return summary


def _write_folder(job: ReportJob, listener: Listener) -> ReportSummary:
    write_whole(job.out / MARK, json.dumps({"kind": GENERATOR}))
    failed: dict[str, str] = {}
    kept = 0
    thumbnails, scripts, agreements = list[str](), list[str](), list[Agreement]()
    for number, panorama in enumerate(job.source.panoramas):
        started = time.monotonic()
        thumbnail, script = f"{THUMBNAILS}/{number + 1:04}.jpg", f"{VIEWER}/{number + 1:04}.js"
        made_of = _made_of(job, panorama, number)
        agreement = Agreement()
        if earlier := _made_before(job, thumbnail, script, made_of):
            kept += 1
            agreement, left_out = earlier
            _tell_left_out(job, panorama, left_out, listener)
        elif layers := _layers(job, panorama, failed, listener):
            _write_panorama(job, number, layers, made_of)
            agreement = layers.agreement
        else:
            thumbnail = script = ""
        thumbnails.append(thumbnail)
        scripts.append(script if script and _has_layers(job, panorama) else "")
        agreements.append(agreement)
        listener(StageAdvanced(STAGE, number + 1, panorama.id, time.monotonic() - started))
    _remove_others(job.out, len(thumbnails))
    write_whole(job.out / TABLE, (job.folder / TABLE).read_bytes())
    parts = PageParts(thumbnails, scripts, notes_on(job.source), job.evaluation, agreements=agreements)
    page = job.out / PAGE
    write_whole(page, page_html(job.source, parts))
    return ReportSummary(page, len(thumbnails) - kept - len(failed), kept, failed)


def _write_single(job: ReportJob, listener: Listener) -> ReportSummary:
    failed: dict[str, str] = {}
    thumbnails, scripts, embedded, agreements = list[str](), list[str](), list[str](), list[Agreement]()
    for number, panorama in enumerate(job.source.panoramas):
        started = time.monotonic()
        layers = _layers(job, panorama, failed, listener)
        thumbnails.append(jpeg_uri(layers.thumbnail) if layers else "")
        agreements.append(layers.agreement if layers else Agreement())
        name = f"view-{number}" if layers and layers.layers else ""
        scripts.append(name)
        if layers and name:
            record = json_in_html(layers.record())
            embedded.append(f'<script type="application/json" id="{name}">{record}</script>')
        listener(StageAdvanced(STAGE, number + 1, panorama.id, time.monotonic() - started))
    parts = PageParts(thumbnails, scripts, notes_on(job.source), job.evaluation, "\n".join(embedded), agreements)
    write_whole(job.out, page_html(job.source, parts))
    return ReportSummary(job.out, len(thumbnails) - len(failed), 0, failed)


def _layers(
    job: ReportJob, panorama: SourcePanorama, failed: dict[str, str], listener: Listener
) -> PanoramaLayers | None:
    """A panorama's pictures; None where they cannot be read, which is told."""
    try:
        classes = len(job.source.labels)
        layers = panorama_layers(panorama, job.width, job.source.maps_are_level, job.with_viewer, classes)
        _tell_left_out(job, panorama, layers.left_out, listener)
        return layers
    except (GoodSAMError, OSError, ValueError) as error:
        told = failure(STAGE, panorama.id, error)
        listener(told)
        failed[panorama.id] = told.error
        return None


def _tell_left_out(job: ReportJob, panorama: SourcePanorama, left_out: Mapping[str, str], listener: Listener) -> None:
    for key, reason in left_out.items():
        listener(ItemFailed(STAGE, f"{panorama.id} (layer {job.source.layer_names[key]})", reason))


def _has_layers(job: ReportJob, panorama: SourcePanorama) -> bool:
    return job.with_viewer and bool(panorama.picture or panorama.maps or panorama.added)


def _made_of(job: ReportJob, panorama: SourcePanorama, number: int) -> str:
    """Names what the files of a panorama are made of: its files, by size and time of change, and the settings."""
    added = {key: own.path for key, own in panorama.added.items()}
    files = {kind: (stat.st_size, stat.st_mtime_ns)
             for kind, path in {**panorama.maps, "picture": panorama.picture, **added}.items()
             if path is not None and (stat := path.stat())}  # fmt: skip
    how = {key: (own.labels.names, own.own_class, own.is_level) for key, own in panorama.added.items()}
    level = [] if panorama.level == "tags" else [panorama.level]
    return fingerprint(VERSION, number, panorama.id, files, job.width, job.with_viewer, job.source.maps_are_level, how,
                       *level)  # fmt: skip


def _made_before(
    job: ReportJob, thumbnail: str, script: str, made_of: str
) -> tuple[Agreement, Mapping[str, str]] | None:
    """How far a panorama's maps agree, and which were left out and why, if its files are made of that already."""
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        with (job.out / script).open(encoding="utf-8") as file:
            about = json.loads(file.readline().removeprefix("// "))
        if about["made_of"] == made_of and (job.out / thumbnail).is_file():
            return Agreement.from_record(about["agreement"], len(job.source.labels)), dict(about["left_out"])
    return None


def _write_panorama(job: ReportJob, number: int, layers: PanoramaLayers, made_of: str) -> None:
    """The script last: with its first line it says that the panorama is done."""
    write_whole(job.out / THUMBNAILS / f"{number + 1:04}.jpg", layers.thumbnail)
    about = {"made_of": made_of, "agreement": layers.agreement.record(), "left_out": layers.left_out}
    text = f"// {json.dumps(about)}\ngoodsamPanorama({number}, {json.dumps(layers.record(), separators=(',', ':'))});\n"
    write_whole(job.out / VIEWER / f"{number + 1:04}.js", text)


def _remove_others(out: Path, count: int) -> None:
    """Remove files of panoramas that the source had before."""
    for file in (*(out / THUMBNAILS).glob("*.jpg"), *(out / VIEWER).glob("*.js")):
        if file.stem.isdecimal() and int(file.stem) > count:
            file.unlink(missing_ok=True)


def _is_report(folder: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return json.loads((folder / MARK).read_text(encoding="utf-8")).get("kind") == GENERATOR
    return False


def _is_page(file: Path) -> bool:
    with suppress(OSError, UnicodeDecodeError), file.open(encoding="utf-8") as text:
        return f'content="{GENERATOR}"' in text.read(500)
    return False
