"""One panorama predicted: labels, overlay, and what the tables say of it; in this process or in a worker's.

Legend: H W panorama (working size), h w picture at its own size, or a map at the network's own resolution.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.accelerator import device_errors
from pipeline.arrays import FloatArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.errors import CacheError, DeviceError, GoodSAMError, InputError, WeightsError
from pipeline.evaluate.indices import confidence
from pipeline.evaluate.metrics import labels_at, resize_nearest
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.images import OpenedPanorama, open_full_size, open_panorama
from pipeline.panorama.level import level_image, unlevel_values
from pipeline.settings import fingerprint
from stages.events import failure
from stages.files import named_after_panorama, writing
from stages.label_files import MADE_BY, is_foreign, label_path, overlay_path, read_notes, write_labels
from stages.map_files import map_facts, write_overlay
from stages.models import Model
from stages.predictor import Predictor
from stages.task_reports import PanoramaReport

STAGE = "predict"


@dataclass(frozen=True)
class PredictTask:
    """All that a worker needs to know about one panorama."""

    file: PanoramaFile
    """Id and file."""
    path: str
    """The file's path as the tables have it."""
    out: Path
    """Folder of the outputs."""
    model: Model
    """The network."""
    panorama: PanoramaConfig
    """Working size, field of view and what is ignored, with the panorama's own mask."""
    names: Mapping[str, str]
    """Names of network and settings, for the label file."""
    overlays: bool
    """Also write a picture of the labels over the panorama."""
    overwrite: bool
    """Also in the place of another panorama's labels."""
    device: str
    """Torch device."""


def predict_in_worker(task: PredictTask) -> PanoramaReport:
    """`predict_panorama` where the network has to be loaded, once per process."""
    try:
        shown = dataclasses.replace(task.panorama, ignore_mask="")
        predictor = _loaded(task.model, task.device, shown, task.names["model"])
    except GoodSAMError as error:
        return PanoramaReport(task.file.id, fatal=error)
    return predict_panorama(task, predictor)


@lru_cache(maxsize=1)
def _loaded(model: Model, device: str, panorama: PanoramaConfig, _identity: str) -> Predictor:
    """The network of a process; with other weights, and so another identity, it is loaded anew."""
    return model.load(device, panorama)


def predict_panorama(task: PredictTask, predictor: Predictor) -> PanoramaReport:
    """Predict one panorama and write its outputs; errors come back in the report."""
    began = time.monotonic()
    try:
        with device_errors("take a smaller network"), named_after_panorama():
            panorama = _predict(task, predictor)
    except (CacheError, DeviceError, WeightsError) as error:
        return PanoramaReport(task.file.id, fatal=error)
    except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
        return PanoramaReport(task.file.id, time.monotonic() - began, failure(STAGE, task.file.id, error))
    place = panorama.placement
    return PanoramaReport(task.file.id, time.monotonic() - began, placed=not place.is_whole,
                         tilt=place.tilt if place.is_tilted else 0.0, notes=panorama.notes)  # fmt: skip


def _predict(task: PredictTask, predictor: Predictor) -> OpenedPanorama:
    """Write the outputs of one panorama, which comes back."""
    panorama, fov = open_panorama(task.file.path, task.panorama), task.panorama.vertical_fov
    labels_path, picture_path = label_path(task.out, task.file.id), overlay_path(task.out, task.file.id)
    made_of = {"source": panorama.sha256, "place": fingerprint(str(task.file.path.resolve()))}
    if not task.overwrite:
        _require_own_place(labels_path, made_of)
    labels_hw, confidence_hw = predict_labels(panorama, predictor, task.panorama, task.model.gives_probabilities)
    if task.overlays:
        image_hw3, source = open_full_size(task.file.path)
        _unmark(labels_path, {**task.names, **made_of})
        write_overlay(picture_path, image_hw3, labels_hw, predictor.label_set, panorama.placement, fov, source.image)
    elif picture_path.is_file():  # that another network left; it would not be of these labels
        picture_path.unlink()
    facts = map_facts(task.path, panorama, labels_hw, confidence_hw, predictor.label_set, fov)
    notes = {**task.names, **made_of, **facts, MADE_BY: task.model.name}
    # Last: this file is the mark that all of the panorama's outputs are there.
    write_labels(labels_path, labels_hw, predictor.label_set, notes)
    return panorama


def _unmark(path: Path, made_of: Mapping[str, str]) -> None:
    """Remove the labels that another network or picture has left: were this killed once the overlay is written, they
    would vouch for that.

    Raises:
        CacheError: they cannot be removed.
    """
    if path.is_file() and not made_of.items() <= read_notes(path).items():
        with writing(path):
            path.unlink()


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
    scores = scores_of(panorama, predictor)
    confidence_hw = unlevel_values(confidence(scores, are_probabilities), panorama.placement, outside=0)
    return labels_of(panorama, scores, config), confidence_hw


def scores_of(panorama: OpenedPanorama, predictor: Predictor) -> FloatArray:
    """A network's scores [C, h, w] of a panorama, on the level canvas."""
    return predictor(level_image(panorama.image_HW3, panorama.placement))


def labels_of(panorama: OpenedPanorama, scores: FloatArray, config: PanoramaConfig) -> LabelArray:
    """Labels at the source's size [source_height, source_width], IGNORE where nothing was seen, from `scores_of`."""
    place = panorama.placement
    labels = place.cut(unlevel_values(labels_at(scores, place.canvas_height, place.canvas_width), place))
    ignored = ignored_region(panorama.image_HW3, config, panorama.transparent_HW)
    labels[resize_nearest(ignored[place.box(*ignored.shape)], *labels.shape)] = IGNORE
    return labels


def _require_own_place(path: Path, made_of: Mapping[str, str]) -> None:
    """Refuse to put a panorama's labels in the place of people's, or of those of another panorama, from elsewhere."""
    if is_foreign(path):
        raise InputError(f"{path} is a picture that `goodsam predict` did not write, or that somebody has edited",
                         "people's labels are not overwritten",
                         "Choose another output folder, or pass --overwrite")  # fmt: skip
    found = read_notes(path)
    if all(found.get(key, made) != made for key, made in made_of.items()):
        raise InputError(f"{path} holds the labels of another panorama with this name",
                         "predictions of several folders can share an output folder only if all names differ",
                         "Choose another output folder, or pass --overwrite")  # fmt: skip
