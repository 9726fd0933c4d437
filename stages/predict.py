"""Predict a folder of panoramas with a network.

<out>/
    labels/<id>.png        class ids with the label set's palette, at the source's size; 255 where nothing was seen
    overlays/<id>.jpg      the labels over the panorama, at its size and with its tags, if asked for
    class_shares.csv       share of the view (solid angle) of every class, one row per file in labels/ of this network
    panoramas.csv, ...     the same with places, times and indices, and for maps: see `tables`

A label file carries the names of network, settings and source: a rerun does only what is missing or changed, and the
table has the panoramas of other folders that went into the same one.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from pipeline.accelerator import device_errors
from pipeline.arrays import FloatArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import CacheError, DeviceError, InputError, WeightsError
from pipeline.evaluate.indices import confidence, doubt, sky_view_factor
from pipeline.evaluate.map_picture import paint_map
from pipeline.evaluate.metrics import class_shares, labels_at, resize_nearest
from pipeline.panorama.capture import Capture
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import FolderContents, PanoramaFile, require_folder, survey_folder
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.ignore_masks import IgnoreMasks, choose_ignore_masks
from pipeline.panorama.images import OpenedPanorama, open_full_size, open_panorama
from pipeline.panorama.level import level_image, level_note, level_values, unlevel_values
from pipeline.panorama.placement import Placement, placement_note
from pipeline.panorama.sphere import solid_angles
from pipeline.panorama.tags import kept_exif, kept_xmp
from pipeline.settings import fingerprint
from stages.claims import claimed
from stages.events import ItemFailed, Listener, Note, StageAdvanced, StageFinished, StageStarted, failure, silent
from stages.files import digest, mask_digest, named_after_panorama, write_picture, write_whole, writing
from stages.models import Model
from stages.positions import Positions, read_positions
from stages.predictor import Predictor
from stages.tables import PanoramaRow, write_tables

STAGE = "predict"
VERSION = 7
"""Raised when the code changes what is predicted or noted, so that older outputs are made anew."""
_NOTES = "goodsam"
"""Text in a label file: what it was made with and of, and the classes' shares, so that a rerun need not decode it."""


@dataclass(frozen=True)
class PredictJob:
    """What to predict, with what, and where to."""

    model: Model
    """The network."""
    panoramas: Path
    """Folder of panoramas, flat or nested, or a picture."""
    out: Path
    """Folder of the outputs; not inside `panoramas`."""
    panorama: PanoramaConfig
    """Working size that the network sees, field of view, and what is ignored."""
    overlays: bool = False
    """Also write pictures of the labels over the panoramas."""
    overwrite: bool = False
    """Do everything anew."""
    device: str = "cpu"
    """Torch device."""
    positions: Path | None = None
    """Table of where panoramas were taken (see `positions`), before their own tags."""

    def __post_init__(self) -> None:
        """Raises InputError where `panoramas` is no folder or `out` lies inside it."""
        if self.panoramas.is_file():
            return
        require_folder(self.panoramas)
        if self.out.resolve().is_relative_to(self.panoramas.resolve()):
            raise InputError(f"{self.out} lies inside {self.panoramas}",
                             "outputs must not be mistaken for panoramas in the next run",
                             "Choose an output folder outside it")  # fmt: skip


@dataclass(frozen=True)
class PredictSummary:
    """What became of the panoramas."""

    done: int
    """Predicted now."""
    skipped: int
    """Predicted by earlier runs."""
    failed: dict[str, str]
    """Id -> one sentence, for those that were set aside."""


def predict(job: PredictJob, listener: Listener = silent) -> PredictSummary:
    """Predict every panorama that has no up-to-date output; broken files are set aside.

    Raises:
        InputError: no panoramas, an unusable ignore mask or table of positions, or not one panorama could be read.
        WeightsError: the network cannot be loaded, or outputs NaN or infinity.
        CacheError: outputs cannot be written, or another predict is at work there.
    """
    with claimed(job.out, STAGE):
        return _predict(job, listener)


def _predict(job: PredictJob, listener: Listener) -> PredictSummary:
    started = time.monotonic()
    contents = _contents(job)
    files = contents.panoramas
    for note in contents.notes:
        listener(Note(STAGE, note))
    for name, reason in contents.set_aside.items():
        listener(ItemFailed(STAGE, name, reason))
    masks = choose_ignore_masks(job.panorama, files)
    positions = read_positions(job.positions) if job.positions else None
    for note in (*masks.notes, *(positions.notes(file.id for file in files) if positions else ())):
        listener(Note(STAGE, note))
    predictor = job.model.load(job.device, job.panorama)
    for note in getattr(predictor, "notes", ()):  # of a network whose files do not say all of what it wants
        listener(Note(STAGE, note))
    made_with = _MadeWith(job, masks)
    _make_folders(job)
    failed: dict[str, str] = {}
    noted: set[str] = set()
    placed, tilts = 0, list[float]()
    missing = [file for file in files if not _is_done(file, job, made_with)]
    listener(StageStarted(STAGE, len(missing), "panoramas"))
    for done, file in enumerate(missing, start=1):
        began = time.monotonic()
        try:
            with device_errors("take a smaller network"), named_after_panorama():
                panorama = _predict_file(file, job, predictor, made_with)
            placed += not panorama.placement.is_whole
            tilts += [panorama.placement.tilt] if panorama.placement.is_tilted else []
            for note in (note for note in panorama.notes if note not in noted):
                noted.add(note)
                listener(Note(STAGE, note))
        except (CacheError, DeviceError, WeightsError):
            raise
        except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
            event = failure(STAGE, file.id, error)
            failed[file.id] = event.error
            listener(event)
        listener(StageAdvanced(STAGE, done, file.id, time.monotonic() - began))
    _require_some(files, failed)
    for note in filter(None, (placement_note(placed), level_note(tilts))):
        listener(Note(STAGE, note))
    rows = _rows(job.out, made_with.model, positions)
    _write_shares(job.out, rows, predictor.label_set)
    write_tables(job.out, list(rows.values()), predictor.label_set)
    if note := _doubtful_positions([rows[file.id] for file in files if file.id in rows]):
        listener(Note(STAGE, note))
    summary = _summary(files, missing, failed)
    summary = dataclasses.replace(summary, failed={**contents.set_aside, **failed})
    facts = {"predicted": summary.done, "kept": summary.skipped, "set aside": len(summary.failed)}
    listener(StageFinished(STAGE, time.monotonic() - started, facts))
    return summary


def _contents(job: PredictJob) -> FolderContents:
    if job.panoramas.is_file():
        return FolderContents([PanoramaFile(job.panoramas.stem, job.panoramas)], {}, {}, [])
    return survey_folder(job.panoramas, [Path(mask)] if (mask := job.panorama.ignore_mask) else [])


def _make_folders(job: PredictJob) -> None:
    """Make them before there are panoramas whose fault it could seem to be that they cannot be made."""
    for folder in ("labels", "overlays") if job.overlays else ("labels",):
        with writing(job.out / folder):
            (job.out / folder).mkdir(parents=True, exist_ok=True)


def predict_labels(
    panorama: OpenedPanorama, predictor: Predictor, config: PanoramaConfig, are_probabilities: bool = False
) -> tuple[LabelArray, FloatArray]:
    """Labels and confidence of a panorama.

    Args:
        panorama: as it was opened.
        predictor: gives its scores.
        config: what is ignored.
        are_probabilities: what the scores are; else logits.

    Returns:
        Labels at the source's size [source_height, source_width], IGNORE where nothing was seen; and, on the camera's
        canvas at the network's own resolution, the probability of the most probable class.
    """
    place = panorama.placement
    scores = predictor(level_image(panorama.image_HW3, place))
    labels = place.cut(unlevel_values(labels_at(scores, place.canvas_height, place.canvas_width), place))
    ignored = ignored_region(panorama.image_HW3, config, panorama.transparent_HW)
    labels[resize_nearest(ignored[place.box(*ignored.shape)], *labels.shape)] = IGNORE
    return labels, unlevel_values(confidence(scores, are_probabilities), place, outside=0)


def _predict_file(file: PanoramaFile, job: PredictJob, predictor: Predictor, made_with: _MadeWith) -> OpenedPanorama:
    """Predict one panorama, which comes back."""
    panorama = open_panorama(file.path, job.panorama)
    made_of = {"source": panorama.sha256, "place": fingerprint(str(file.path.resolve()))}
    if not job.overwrite:
        _require_own_place(_label_path(job, file), made_of)
    labels, sure_hw = predict_labels(panorama, predictor, made_with.config_of(file), job.model.gives_probabilities)
    if job.overlays:
        _write_overlay(file, job, panorama.placement, labels, predictor.label_set)
    elif _overlay_path(job, file).is_file():  # that another network left; it would not be of these labels
        _overlay_path(job, file).unlink()
    facts = {**made_with.names_of(file), **made_of, **_facts(file, job, panorama, labels, sure_hw, predictor.label_set)}
    made_notes = PngImagePlugin.PngInfo()
    made_notes.add_text(_NOTES, json.dumps(facts))
    # Last: this file is the mark that all of the panorama's outputs are there.
    write_picture(_label_path(job, file), _indexed(labels, predictor.label_set), pnginfo=made_notes)
    return panorama


def _write_overlay(
    file: PanoramaFile, job: PredictJob, place: Placement, labels: LabelArray, label_set: LabelSet
) -> None:
    """The labels over the picture at its own size, with its tags, by which viewers know it as a panorama."""
    fov = job.panorama.vertical_fov
    image_hw3, source = open_full_size(file.path)
    painted = Image.fromarray(paint_map(image_hw3, labels, label_set, fov * place.height / place.canvas_height))
    tags = {"exif": kept_exif(source.image), "xmp": kept_xmp(source.image, place, fov)}
    write_picture(_overlay_path(job, file), painted, quality=90, **tags)


def _facts(
    file: PanoramaFile,
    job: PredictJob,
    panorama: OpenedPanorama,
    labels: LabelArray,
    sure_hw: FloatArray,
    label_set: LabelSet,
) -> dict[str, Any]:
    """What the tables say of a panorama, for its label file."""
    fov, place = job.panorama.vertical_fov, panorama.placement
    weights = solid_angles(place.canvas_height, place.canvas_width, fov)[place.rows]
    canvas_HW = place.put(labels, IGNORE)
    if place.is_tilted:  # it takes seconds to level all pixels of a large picture
        canvas_HW = resize_nearest(canvas_HW, *panorama.image_HW3.shape[:2])
    unseen_hw = resize_nearest(canvas_HW, *sure_hw.shape) == IGNORE
    return {
        "file": file.path.name if file.path == job.panoramas else file.path.relative_to(job.panoramas).as_posix(),
        "shares": class_shares(labels, len(label_set), weights).tolist(),
        "sky_view_factor": sky_view_factor(level_values(canvas_HW, place), label_set, fov),
        "doubt": doubt(sure_hw, unseen_hw, solid_angles(*sure_hw.shape, fov)),
        "capture": dataclasses.asdict(panorama.capture),
    }


def _require_own_place(path: Path, made_of: dict[str, str]) -> None:
    """Refuse to put a panorama's labels in the place of those of another one, from elsewhere."""
    found = _notes(path)
    if all(found.get(key, made) != made for key, made in made_of.items()):
        raise InputError(f"{path} has the labels of another panorama of this name",
                         "outputs of two folders can share one only if all names differ",
                         "Choose another output folder, or pass --overwrite")  # fmt: skip


def _indexed(labels_HW: LabelArray, label_set: LabelSet) -> Image.Image:
    picture = Image.fromarray(labels_HW)
    picture.putpalette(label_set.palette_array.tobytes())
    return picture


def _is_done(file: PanoramaFile, job: PredictJob, made_with: _MadeWith) -> bool:
    if job.overwrite or (job.overlays and not _overlay_path(job, file).is_file()):
        return False
    found = _notes(_label_path(job, file))
    try:
        return made_with.names_of(file).items() <= found.items() and found["source"] == digest(file.path)
    except InputError:
        return False  # predicting it again tells what is wrong


def _notes(path: Path) -> dict[str, Any]:
    """What a label file says of itself; empty where there is none, or a broken one."""
    with suppress(OSError, SyntaxError, ValueError, KeyError), Image.open(path) as picture:
        return dict(json.loads(picture.info[_NOTES]))
    return {}


def _label_path(job: PredictJob, file: PanoramaFile) -> Path:
    return job.out / "labels" / f"{file.id}.png"


def _overlay_path(job: PredictJob, file: PanoramaFile) -> Path:
    return job.out / "overlays" / f"{file.id}.jpg"


def _rows(out: Path, model: str, positions: Positions | None) -> dict[str, PanoramaRow]:
    """By id, all that this network has predicted, from what is noted in the label files."""
    rows: dict[str, PanoramaRow] = {}
    for path in (out / "labels").rglob("*.png"):
        if (notes := _notes(path)).get("model") == model:
            id_ = path.relative_to(out / "labels").with_suffix("").as_posix()
            capture = Capture(**notes["capture"])
            capture = positions.of(id_, capture) if positions else capture
            rows[id_] = PanoramaRow(notes["file"], capture, tuple(notes["shares"]), notes["sky_view_factor"],
                                    notes["doubt"])  # fmt: skip
    return dict(sorted(rows.items()))


def _doubtful_positions(rows: Sequence[PanoramaRow]) -> str:
    """Which panoramas have tags of an impossible position, in a sentence; empty for none."""
    found = [row for row in rows if row.capture.doubt]
    if not found:
        return ""
    first = f"{found[0].path}, {found[0].capture.doubt}"
    return (
        f"{len(found)} of {len(rows)} panoramas have a position in their EXIF that cannot be right (the first: {first})"
        " and none in the tables; --positions can give one"
    )


def _write_shares(out: Path, rows: Mapping[str, PanoramaRow], label_set: LabelSet) -> None:
    """The table of shares of the whole view."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["panorama", *label_set.names, "ignored"])
    writer.writerows([id_, *(f"{share:.6f}" for share in row.shares)] for id_, row in rows.items())
    write_whole(out / "class_shares.csv", table.getvalue())


def _require_some(files: list[PanoramaFile], failed: dict[str, str]) -> None:
    if len(failed) == len(files):
        name, reason = next(iter(failed.items()))
        raise InputError(f"none of {len(files)} panoramas could be predicted",
                         f"at least one must be usable; the first error: {name}: {reason.rstrip('.')}",
                         "Repair or replace the files")  # fmt: skip


def _summary(files: list[PanoramaFile], missing: list[PanoramaFile], failed: dict[str, str]) -> PredictSummary:
    done = sum(file.id not in failed for file in missing)
    return PredictSummary(done, len(files) - done - len(failed), failed)


class _MadeWith:
    """All that decides what is predicted, the source apart."""

    def __init__(self, job: PredictJob, masks: IgnoreMasks) -> None:
        self.model = fingerprint(VERSION, job.model.identity)
        self._panorama = job.panorama
        self._masks = masks
        self._mask_digest = lru_cache(maxsize=None)(mask_digest)  # as files are at the beginning

    def config_of(self, file: PanoramaFile) -> PanoramaConfig:
        """The settings with the panorama's own mask."""
        return dataclasses.replace(self._panorama, ignore_mask=str(self._masks.of(file.path) or ""))

    def names_of(self, file: PanoramaFile) -> dict[str, str]:
        """Names of network and settings as they stand in a label file: files by content, not by name."""
        config = self.config_of(file)
        mask = self._mask_digest(config.ignore_mask)
        return {"model": self.model, "settings": fingerprint(dataclasses.replace(config, ignore_mask=""), mask)}
