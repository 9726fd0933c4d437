"""A folder of corrected labels: what people have made of the ensemble, picture by picture.

<corrections>/
    panoramas/<id>.png, evaluation/<id>.png    class ids, 255 where nobody has labelled; notes name the content
    .replaced/<digest>/...                     corrections that later ones have taken the place of

A correction belongs to a picture's content: a moved or renamed picture keeps it, a changed one loses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import InputError
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.level import level_values, unlevel_values
from pipeline.panorama.placement import Placement
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from stages.files import digest, write_whole
from stages.label_files import PIXELS, is_foreign, read_notes, write_labels
from stages.label_ids import read_ids
from stages.panorama_records import PanoramaRecord
from stages.splits import EVALUATION, evaluation_panoramas

REPLACED = ".replaced"
ORIGINAL, WORKING = "original", "working"
CANVAS = "canvas"
"""Note of a correction of the working size: which canvas that was."""


@dataclass(frozen=True)
class Correction:
    """A corrected label map on the disk."""

    path: Path
    """The PNG."""
    source: str
    """SHA-256 of the picture's file."""
    size: str
    """original: pixels of the picture's own; working: of the level canvas of the working size."""
    digest: str
    """SHA-256 of the PNG."""
    canvas: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of the working size: `canvas_of` the panorama then; empty in corrections of before, for that of the run."""

    def on_canvas(self, recipe: Recipe, place: Placement) -> LabelArray:
        """Corrected labels [H, W] at the working size, as the student sees the panorama; IGNORE elsewhere.

        Args:
            recipe: the run's.
            place: where the picture lies on the canvas.

        Raises:
            InputError: the file cannot be read, or has ids of no class.
        """
        labels_hw = read_ids(self.path, recipe.classes)
        if self.size == ORIGINAL:
            placed = place.at_size(*labels_hw.shape)
            labels_hw = level_values(placed.put(labels_hw, IGNORE), placed)
        elif self.canvas and self.canvas != canvas_of(place):
            labels_hw = _on_other_canvas(labels_hw, replace(place, **self.canvas), place)
        return resize_nearest(labels_hw, recipe.panorama.height, recipe.panorama.width)


def canvas_of(place: Placement) -> dict[str, float]:
    """What decides which part of the sphere a pixel of a panorama's level canvas is."""
    return {"pitch": place.pitch, "roll": place.roll, "vertical_fov": place.vertical_fov}


def _on_other_canvas(labels_HW: LabelArray, before: Placement, place: Placement) -> LabelArray:
    """Labels of one level canvas as they lie on another; IGNORE where that sees more."""
    tilted_HW = unlevel_values(labels_HW, before)
    height = len(tilted_HW)
    wanted = round(height * place.vertical_fov / before.vertical_fov)
    if wanted > height:
        above = (wanted - height) // 2
        tilted_HW = np.pad(tilted_HW, ((above, wanted - height - above), (0, 0)), constant_values=IGNORE)
    else:
        above = (height - wanted) // 2
        tilted_HW = tilted_HW[above : above + wanted]
    return level_values(tilted_HW, place)


@dataclass(frozen=True)
class Corrections:
    """All corrections of a folder, by the content of their pictures."""

    by_source: Mapping[str, Correction]
    """By SHA-256 of the picture's file."""

    def fingerprint(self, sources: set[str]) -> str:
        """Names the corrections of some pictures; empty for none."""
        found = sorted((source, self.by_source[source].digest) for source in sources & self.by_source.keys())
        return fingerprint(found) if found else ""


def find_corrections(folder: str) -> Corrections:
    """The corrections that `data.corrections` names; none where it is empty.

    Raises:
        InputError: it is no folder, a file in it is no correction, or two differ that are of one picture.
    """
    if not folder:
        return Corrections({})
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"data.corrections is {folder}, which is not a folder", "`goodsam import-labels` makes it",
                         "Run that first, or correct the setting")  # fmt: skip
    found: dict[str, Correction] = {}
    for path in _files(root):
        notes = read_notes(path)
        if not isinstance(notes.get("source"), str) or notes.get("size") not in (ORIGINAL, WORKING):
            raise InputError(f"{path} does not say which picture it corrects",
                             "`goodsam import-labels` writes it into the file",
                             "Import it with that command")  # fmt: skip
        correction = Correction(path, notes["source"], notes["size"], digest(path), dict(notes.get(CANVAS) or {}))
        other = found.setdefault(correction.source, correction)
        if other.digest != correction.digest:
            raise InputError(f"{other.path} and {path} correct the same picture, and differ",
                             "a picture has one correction",
                             "Delete the older one, or import the labels that count again")  # fmt: skip
    return Corrections(found)


class CorrectionFolder:
    """A folder that corrections are stored in; one of before that another takes the place of is kept aside."""

    def __init__(self, path: Path) -> None:
        """Look at what is there.

        Args:
            path: the folder; it need not be there.
        """
        self._path = path
        self._of_source: dict[str, list[Path]] = {}
        for file in _files(path):
            self._of_source.setdefault(str(read_notes(file).get("source")), []).append(file)

    def has(self, source: str) -> bool:
        """Whether a picture has a correction.

        Args:
            source: SHA-256 of its file.
        """
        return source in self._of_source

    def store(
        self,
        panorama_id: str,
        labels_hw: LabelArray,
        labels: LabelSet,
        source: str,
        size: str,
        canvas: Mapping[str, float] | None = None,
    ) -> bool:
        """Write a picture's correction. Returns whether anything has changed.

        Args:
            panorama_id: the panorama's id.
            labels_hw: class ids, IGNORE where nobody has labelled.
            labels: the classes.
            source: SHA-256 of the picture's file.
            size: ORIGINAL or WORKING.
            canvas: for WORKING, `canvas_of` the panorama.

        Raises:
            CacheError: it cannot be written.
        """
        notes: dict[str, Any] = {"source": source, "size": size, "classes": list(labels.names)}
        if canvas:
            notes[CANVAS] = dict(canvas)
        before = self._of_source.get(source, [])  # under names that the picture had
        kept = next((path for path in before if _holds(path, labels_hw, notes)), None)
        path = kept or self._place(panorama_id, source)
        if not kept:
            if path.is_file():
                self._put_aside(path)
            write_labels(path, labels_hw, labels, notes)
        others = [other for other in before if other != path]
        for other in others:
            self._put_aside(other)
            other.unlink()
        self._of_source[source] = [path]
        return kept is None or bool(others)

    def _place(self, panorama_id: str, source: str) -> Path:
        """Where a picture's correction is written; not where another picture's lies, which once had its name."""
        path = self._path / f"{panorama_id}.png"
        return path if read_notes(path).get("source", source) == source else path.with_stem(f"{path.stem} {source[:8]}")

    def _put_aside(self, path: Path) -> None:
        aside = self._path / REPLACED / digest(path)[:12] / path.relative_to(self._path)
        write_whole(aside, path.read_bytes())


def _files(folder: Path) -> list[Path]:
    """The corrections of a folder, sorted; without those kept aside."""
    return [path for path in sorted(folder.rglob("*.png")) if REPLACED not in path.relative_to(folder).parts]


def _holds(path: Path, labels_hw: LabelArray, notes: Mapping[str, Any]) -> bool:
    """Whether a correction of before has these labels, and says the same of itself."""
    before = {CANVAS: notes.get(CANVAS), **read_notes(path)}  # it came later
    return {key: before.get(key) for key in notes} == notes and np.array_equal(np.asarray(Image.open(path)), labels_hw)


def pixels_digest(labels_hw: LabelArray) -> str:
    """Names the content of a label map: size and pixels."""
    return hashlib.sha256(f"{labels_hw.shape}".encode() + np.ascontiguousarray(labels_hw).tobytes()).hexdigest()


def is_edited(path: Path) -> bool:
    """Whether a label map in the place of an exported one holds other pixels; a broken file holds none."""
    try:
        with Image.open(path) as picture:
            digest_now = pixels_digest(np.asarray(picture))
    except (OSError, SyntaxError, ValueError):
        return False
    return is_foreign(path) or read_notes(path).get(PIXELS, digest_now) != digest_now


class KnownPanoramas(Protocol):
    """What is asked of a `RunReader`."""

    @property
    def records(self) -> Mapping[str, PanoramaRecord]:
        """Content of the panoramas in the cache, by id."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Those that are read."""
        ...

    def placement(self, panorama_id: str) -> Placement:
        """Where a panorama's picture lies on the canvas."""
        ...


@dataclass(frozen=True)
class CorrectionReader:
    """Gives the student a panorama's correction; picklable."""

    corrections: Corrections
    """All of the folder."""
    recipe: Recipe
    """The run's."""
    reader: KnownPanoramas
    """Knows content and placement of the panoramas."""
    evaluated: frozenset[str]
    """SHA-256 of the pictures of `data.evaluation`, as far as they are known."""

    def __call__(self, panorama_id: str) -> LabelArray | None:
        """Corrected labels at the working size; None where there are none, or they are held out."""
        correction = self.of(panorama_id)
        if correction is None or self.is_held_out(correction):
            return None
        return correction.on_canvas(self.recipe, self.reader.placement(panorama_id))

    def of(self, panorama_id: str) -> Correction | None:
        """The correction of a panorama's content."""
        return self.corrections.by_source.get(self.reader.records[panorama_id].sha256)

    def is_held_out(self, correction: Correction) -> bool:
        """Whether it is measured on rather than learned from; that depends on the picture's content alone, so that a
        copy of a picture to evaluate on teaches nothing."""
        drawn = int(correction.source[:8], 16) < self.recipe.data.corrections_held_out * 16**8
        return drawn or correction.source in self.evaluated

    @property
    def learned_fingerprint(self) -> str:
        """Names what the student learns from; empty for nothing."""
        learned = {
            correction.source
            for panorama_id in self.reader.ids
            if (correction := self.of(panorama_id)) and not self.is_held_out(correction)
        }
        return self.corrections.fingerprint(learned)


def correction_reader(recipe: Recipe, reader: KnownPanoramas) -> CorrectionReader:
    """The corrections of a run.

    Raises:
        InputError: as `find_corrections`.
    """
    corrections = find_corrections(recipe.data.corrections)
    return CorrectionReader(corrections, recipe, reader, _evaluated(recipe, reader))


def _evaluated(recipe: Recipe, reader: KnownPanoramas) -> frozenset[str]:
    """SHA-256 of the pictures of `data.evaluation`; where that is not at hand, of those that the cache has."""
    if not recipe.data.evaluation:
        return frozenset()
    ids = {panorama_id for panorama_id in reader.records if panorama_id.startswith(f"{EVALUATION}/")}
    with suppress(InputError):
        ids &= {panorama.id for panorama in evaluation_panoramas(recipe)}
    return frozenset(reader.records[panorama_id].sha256 for panorama_id in ids)
