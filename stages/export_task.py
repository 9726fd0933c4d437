"""One panorama exported: its files, and what is noted of it; in this process or in a worker's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.ensemble.regions import NO_MASK
from pipeline.errors import CacheError, InputError
from pipeline.evaluate.overlay import paint_masks
from pipeline.exchange import coco, cvat, labelstudio
from pipeline.panorama.config import ViewsConfig
from pipeline.panorama.tags import gpano_xmp, kept_exif, kept_xmp
from pipeline.pretrained import network_name
from pipeline.recipe import Recipe
from stages.corrections import is_edited, pixels_digest
from stages.events import failure
from stages.export_crops import part_of, write_crops
from stages.export_folder import ExportFolder
from stages.export_maps import CachedMaps
from stages.files import named_after_panorama, write_picture, write_whole
from stages.label_files import MADE_BY, PIXELS, write_labels
from stages.map_files import QUALITY, map_facts, write_overlay
from stages.reading import RunReader
from stages.task_reports import PanoramaReport
from stages.unknown_table import unknown_rows

STAGE = "export"
LABELS, RELIABLE, RELIABILITY, CONFIDENCE = "labels", "reliable", "reliability", "confidence"
MASKS, OVERLAYS, MASK_OVERLAYS = "masks", "overlays", "mask-overlays"
ASSISTANT, AGREEMENT = "assistant", "agreement"
UNKNOWN, UNKNOWN_OVERLAYS, UNKNOWN_PART = "unknown", "unknown-overlays", ".parts/unknown"
IMAGES, PANOPTIC = "images", "panoptic"
COCO_PART, CVAT_PART, LABELSTUDIO_PART = ".parts/coco", ".parts/cvat", ".parts/labelstudio"
CROPS_PART = ".parts/crops"
_MOST_MASKS = 65535
_IMAGE_QUALITY = 95
"""Of pictures of the working size, JPEG."""


@dataclass(frozen=True)
class ExportTask:
    """All that a worker needs of one panorama."""

    panorama_id: str
    """Its id in the run."""
    name: str
    """Its name in the export: the files' path without folder of outputs and suffix."""
    path: str
    """The picture's path as the tables have it."""
    reader: RunReader
    """Reads it."""
    out: Path
    """The export's folder."""
    is_original: bool
    """Whether maps have the picture's own size."""
    outputs: frozenset[str]
    """Which files are wanted: names of OUTPUTS and PARTS."""
    made_of: Mapping[str, str]
    """What determines the files, for the record."""
    folder: str = ""
    """Folder of the files in the export's."""
    views: ViewsConfig = field(default_factory=ViewsConfig)
    """Which views are cut, where crops are wanted."""
    overwrite: bool = False
    """Also label maps that somebody has edited."""


def export_panorama(task: ExportTask) -> PanoramaReport:
    """Write the files of one panorama; errors come back in the report."""
    began = time.monotonic()
    try:
        maps = CachedMaps(task.reader, task.panorama_id, task.is_original)
        maps.panorama  # noqa: B018 - a changed or unreadable picture is no error of the folder
    except Exception as error:
        return PanoramaReport(task.name, time.monotonic() - began, failure(STAGE, task.name, error))
    try:
        with named_after_panorama():
            _write(task, maps)
    except CacheError as error:
        if str(task.out) in error.found:
            return PanoramaReport(task.name, fatal=error)
        return PanoramaReport(task.name, time.monotonic() - began, failure(STAGE, task.name, error))
    except Exception as error:  # one panorama must not stop a night's run; the log has the traceback
        return PanoramaReport(task.name, time.monotonic() - began, failure(STAGE, task.name, error))
    return PanoramaReport(task.name, time.monotonic() - began)


def _require_unedited(task: ExportTask) -> None:
    """Refuse to overwrite or remove label maps that somebody has edited since they were exported."""
    is_stale = ExportFolder(task.out).record(task.name).get("made_of") != dict(task.made_of)
    for path in _label_maps(task, is_stale):
        if is_edited(path):
            raise InputError(f"{path} has been edited since it was exported",
                             "people's corrections are not overwritten",
                             "Take them over with `goodsam import-labels`, and export into another folder or pass "
                             "--overwrite")  # fmt: skip


def _label_maps(task: ExportTask, is_stale: bool) -> Iterator[Path]:
    """The places of label maps that are written now or, where earlier ones are stale, removed."""
    for output in (LABELS, RELIABLE):
        if is_stale or output in task.outputs:
            yield task.out / task.folder / output / f"{task.name}.png"
    if CROPS_PART in task.outputs:
        yield from sorted((task.out / LABELS / task.name).glob("*.png"))


def _write(task: ExportTask, maps: CachedMaps) -> None:
    if not task.overwrite:
        _require_unedited(task)
    labels, fov = maps.reader.recipe.classes, maps.reader.recipe.panorama.vertical_fov
    files: dict[str, str] = {}
    notes = {**task.made_of, "panorama": task.path, MADE_BY: _made_by(maps.reader.recipe)}
    for output, write in {**OUTPUTS, **PARTS}.items():
        if output in task.outputs:
            files[output] = str(PurePosixPath(task.folder, output, f"{task.name}{_suffix(output, maps)}"))
            write(task.out / files[output], maps, notes)
    if CROPS_PART in task.outputs:
        files[CROPS_PART] = f"{CROPS_PART}/{task.name}.json"
        written = write_crops(task.out, task.name, maps, task.views, notes)
        write_whole(task.out / files[CROPS_PART], part_of(task.path, written))
        files |= {file: file for crop in written for file in (crop.image, crop.label)}
    facts = map_facts(task.path, maps.panorama, maps.labels_hw, maps.canvas_confidence_HW, labels, fov)
    height, width = maps.labels_hw.shape
    facts |= {"height": height, "width": width}
    ExportFolder(task.out).finish(task.name, task.made_of, files, facts)


def _made_by(recipe: Recipe) -> str:
    """The networks of an ensemble, as a person calls them."""
    sam = network_name(recipe.sam.name) or recipe.sam.model
    assistants = [network_name(assistant.name) or "the demo's assistant" for assistant in recipe.assistants]
    return f"the ensemble of SAM ({sam}), {', '.join(assistants)}"


Writer = Callable[[Path, CachedMaps, Mapping[str, str]], None]
"""Writes a file of a panorama's maps; takes its path, the maps, and what determines them."""


def _label_writer(labels_of: Callable[[CachedMaps], LabelArray], is_correctable: bool = True) -> Writer:
    """Writes a label map; from one that people may correct, `import-labels` knows what nobody has changed."""

    def write(path: Path, maps: CachedMaps, notes: Mapping[str, str]) -> None:
        labels_hw = labels_of(maps)
        pixels = {PIXELS: pixels_digest(labels_hw)} if is_correctable else {}
        write_labels(path, labels_hw, maps.reader.recipe.classes, {**notes, **pixels})

    return write


def _picture_writer(values_of: Callable[[CachedMaps], npt.NDArray[Any]]) -> Writer:
    """Writes numbers of pixels as a grey picture."""
    return lambda path, maps, _: write_picture(path, Image.fromarray(values_of(maps)))


def _text_writer(text_of: Callable[[CachedMaps], str | bytes]) -> Writer:
    return lambda path, maps, _: write_whole(path, text_of(maps))


def _painter(masks_of: Callable[[CachedMaps], npt.NDArray[np.int32]]) -> Writer:
    return lambda path, maps, _: _write_painted_masks(path, maps, masks_of(maps))


def _write_masks(path: Path, maps: CachedMaps, _: Mapping[str, str]) -> None:
    """Ids from 1 on, 0 where there is no mask, as 16 bits."""
    masks_hw = maps.masks_hw
    ids, numbers = np.unique(np.append(masks_hw.ravel(), np.int32(NO_MASK)), return_inverse=True)
    if len(ids) - 1 > _MOST_MASKS:
        raise InputError(f"{path.stem} has {len(ids) - 1} masks", f"a 16-bit map holds at most {_MOST_MASKS}",
                         "Leave masks out of --what")  # fmt: skip
    write_picture(path, Image.fromarray(numbers[:-1].reshape(masks_hw.shape).astype(np.uint16)))


def _write_overlay(path: Path, maps: CachedMaps, _: Mapping[str, str]) -> None:
    recipe, place = maps.reader.recipe, maps.panorama.placement
    image_hw3, tags = maps.picture()
    write_overlay(path, image_hw3, maps.labels_hw, recipe.classes, place, recipe.panorama.vertical_fov, tags,
                  own_geometry=maps.is_original)  # fmt: skip


def _write_unknown_part(path: Path, maps: CachedMaps, _: Mapping[str, str]) -> None:
    recipe = maps.reader.recipe
    write_whole(path, json.dumps(unknown_rows(maps.unknown, recipe.classes, recipe.panorama.vertical_fov)))


def _write_painted_masks(path: Path, maps: CachedMaps, masks_hw: npt.NDArray[np.int32]) -> None:
    place, fov = maps.panorama.placement, maps.reader.recipe.panorama.vertical_fov
    image_hw3, tags = maps.picture()
    painted = Image.fromarray(paint_masks(image_hw3, masks_hw))
    xmp = kept_xmp(tags, place, fov) if maps.is_original else gpano_xmp(place, fov)
    write_picture(path, painted, quality=QUALITY, exif=kept_exif(tags), xmp=xmp)


def _write_image(path: Path, maps: CachedMaps, _: Mapping[str, str]) -> None:
    """The picture that the maps are of: the file itself, or the working size."""
    if maps.is_original:
        write_whole(path, maps.reader.paths[maps.panorama_id].read_bytes())
        return
    tags = maps.picture()[1]
    place, fov = maps.panorama.placement, maps.reader.recipe.panorama.vertical_fov
    picture = Image.fromarray(maps.panorama.image_HW3)
    write_picture(path, picture, quality=_IMAGE_QUALITY, exif=kept_exif(tags), xmp=gpano_xmp(place, fov))


OUTPUTS: Mapping[str, Writer] = {
    LABELS: _label_writer(lambda maps: maps.labels_hw),
    RELIABLE: _label_writer(lambda maps: maps.reliable_labels_hw),
    RELIABILITY: _picture_writer(lambda maps: np.where(maps.reliable_hw, np.uint8(255), np.uint8(0))),
    CONFIDENCE: _picture_writer(lambda maps: maps.confidence_hw),
    MASKS: _write_masks,
    OVERLAYS: _write_overlay,
    MASK_OVERLAYS: _painter(lambda maps: maps.masks_hw),
    ASSISTANT: _label_writer(lambda maps: maps.assistant_hw, is_correctable=False),
    AGREEMENT: _picture_writer(lambda maps: maps.agreement_hw),
    UNKNOWN: _picture_writer(lambda maps: maps.unknown_hw),
    UNKNOWN_OVERLAYS: _painter(lambda maps: maps.unknown_hw.astype(np.int32) + NO_MASK),  # 0, none, becomes NO_MASK
}
"""Maps that can be written of a panorama; the name is that of its folder, too."""
PARTS: Mapping[str, Writer] = {
    IMAGES: _write_image,
    PANOPTIC: _picture_writer(lambda maps: coco.panoptic_map(maps.labels_hw)),
    COCO_PART: _text_writer(lambda maps: json.dumps(coco.segments(maps.labels_hw))),
    CVAT_PART: _text_writer(lambda maps: cvat.masks_xml(maps.labels_hw, maps.reader.recipe.classes)),
    LABELSTUDIO_PART: _text_writer(
        lambda maps: json.dumps(labelstudio.results(maps.labels_hw, maps.reader.recipe.classes))
    ),
    UNKNOWN_PART: _write_unknown_part,
}
"""What formats need of a panorama besides; parts of files of all panoramas lie in hidden folders."""
_SUFFIXES = {OVERLAYS: ".jpg", MASK_OVERLAYS: ".jpg", UNKNOWN_OVERLAYS: ".jpg", UNKNOWN_PART: ".json",
             COCO_PART: ".json", CVAT_PART: ".xml", LABELSTUDIO_PART: ".json"}  # fmt: skip


def _suffix(output: str, maps: CachedMaps) -> str:
    if output == IMAGES:
        return maps.reader.paths[maps.panorama_id].suffix if maps.is_original else ".jpg"
    return _SUFFIXES.get(output, ".png")
