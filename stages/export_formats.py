"""The formats of `goodsam export`: which files each needs of a panorama, and what it writes about all of them.

masks        maps, overlays and tables, see `export`
coco         instances.json: a segment per class with run lengths; panoptic.json and panoptic/<id>.png
cvat         annotations.xml: CVAT for images 1.1; labels.json: the classes for CVAT's label constructor
labelstudio  tasks.json: tasks with brush masks as predictions; interface.xml: the labelling interface
crops        images/, labels/, crops.csv: perspective views with their labels, see `export_crops`
hf-dataset   train/images/, train/labels/, train/metadata.jsonl, README.md: a folder for `datasets.load_dataset`
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.classes import LabelSet
from pipeline.exchange import coco, cvat, labelstudio
from stages.cards import dataset_card
from stages.export_crops import write_table
from stages.export_task import (
    COCO_PART,
    CROPS_PART,
    CVAT_PART,
    IMAGES,
    LABELS,
    LABELSTUDIO_PART,
    PANOPTIC,
)
from stages.files import write_whole
from stages.tables import PanoramaRow

LOCAL_FILES = "/data/local-files/?d="
"""What Label Studio has before the path of a picture that it serves from the disk."""


def picture_address(prefix: str, path: str) -> str:
    """Where Label Studio finds a picture. Paths are quoted as in any web address; those of a storage
    (s3://, gs://) stay as they are, for there Label Studio takes them literally.

    Args:
        prefix: what stands before the path.
        path: the picture's.
    """
    scheme, is_url, _ = prefix.partition("://")
    is_literal = is_url and scheme not in ("http", "https")
    return prefix + (path if is_literal else quote(path, errors="surrogateescape"))


@dataclass(frozen=True)
class Exported:
    """All panoramas of an export that are done."""

    out: Path
    """The export's folder."""
    run: str
    """Name of the run."""
    labels: LabelSet
    """Names and colours of the classes."""
    records: Mapping[str, Mapping[str, Any]]
    """What was noted of each (`ExportFolder.finish`), by name."""
    rows: Mapping[str, PanoramaRow]
    """What the tables say of each."""
    url_prefix: str = LOCAL_FILES
    """What stands before a picture's path in Label Studio's tasks."""
    maps_size: str = ""
    """Whether maps have the pictures' own size or the working size."""

    def picture(self, name: str) -> str:
        """The picture's path: in the export where that has it, else in its folder of panoramas."""
        record = self.records[name]
        return record["files"].get(IMAGES, record["facts"]["file"])

    def part(self, name: str, output: str) -> str:
        """The text of one of a panorama's hidden parts."""
        return (self.out / self.records[name]["files"][output]).read_text(encoding="utf-8")

    def size(self, name: str) -> tuple[int, int]:
        """Height and width of a panorama's label map."""
        facts = self.records[name]["facts"]
        return facts["height"], facts["width"]


@dataclass(frozen=True)
class Format:
    """One way to write an export."""

    outputs: frozenset[str]
    """Files that it needs of each panorama."""
    assemble: Callable[[Exported], None]
    """Writes what it has about all panoramas."""
    has_tables: bool = True
    """Whether tables and styles lie beside it."""
    folder: str = ""
    """Folder of the panoramas' files in the export."""
    require: Callable[[], None] = lambda: None
    """Raises InputError where something that it needs is not installed."""
    has_maps: bool = True
    """Whether maps may lie beside it that `--what` names."""
    needs_pictures: bool = True
    """Whether the pictures of the working size, which lie nowhere else, belong to its files."""


def _no_file(_: Exported) -> None:
    """Maps stand for themselves."""


def _assemble_coco(exported: Exported) -> None:
    images, segments, panoptic = [], list[dict[str, Any]](), list[dict[str, Any]]()
    for number, name in enumerate(exported.records, start=1):
        height, width = exported.size(name)
        picture = {"id": number, "file_name": exported.picture(name), "height": height, "width": width}
        images.append({**picture, "sha256": exported.records[name]["made_of"]["source"]})
        of_picture = json.loads(exported.part(name, COCO_PART))
        segments += [{"id": len(segments) + k, "image_id": number, **one} for k, one in enumerate(of_picture, start=1)]
        panoptic.append({"image_id": number, "file_name": f"{name}.png",
                         "segments_info": coco.panoptic_segments(of_picture)})  # fmt: skip
    common = {"info": {"description": f"ensemble of {exported.run}"}, "images": images,
              "categories": coco.categories(exported.labels)}  # fmt: skip
    write_whole(exported.out / "instances.json", json.dumps({**common, "annotations": segments}))
    write_whole(exported.out / "panoptic.json", json.dumps({**common, "annotations": panoptic}))


def _assemble_cvat(exported: Exported) -> None:
    text = io.StringIO()
    text.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
    text.write(cvat.meta(exported.labels, exported.run, len(exported.records)) + "\n")
    for number, name in enumerate(exported.records):
        masks = exported.part(name, CVAT_PART)
        text.write(cvat.image_xml(number, exported.picture(name), *exported.size(name), masks) + "\n")
    text.write("</annotations>\n")
    write_whole(exported.out / "annotations.xml", text.getvalue())
    write_whole(exported.out / "labels.json", json.dumps(cvat.label_constructor(exported.labels), indent=1))


def _assemble_labelstudio(exported: Exported) -> None:
    tasks = (
        json.dumps(labelstudio.task(picture_address(exported.url_prefix, exported.picture(name)),
                                    record["facts"]["file"], record["made_of"]["source"],
                                    json.loads(exported.part(name, LABELSTUDIO_PART)), exported.maps_size))
        for name, record in exported.records.items()
    )  # fmt: skip
    write_whole(exported.out / "tasks.json", "[" + ",\n".join(tasks) + "]\n")
    write_whole(exported.out / "interface.xml", labelstudio.interface_xml(exported.labels))


def _assemble_crops(exported: Exported) -> None:
    write_table(exported.out, [exported.part(name, CROPS_PART) for name in exported.records])


def _assemble_dataset(exported: Exported) -> None:
    lines: list[str] = []
    for name, record in exported.records.items():
        files = {output: path.removeprefix(f"{DATASET_FOLDER}/") for output, path in record["files"].items()}
        row = exported.rows[name].columns(exported.labels)
        known = {"image_file_name": files[IMAGES], "label_file_name": files[LABELS], **row,
                 "sha256": record["made_of"]["source"]}  # fmt: skip
        lines.append(json.dumps(known))
    write_whole(exported.out / DATASET_FOLDER / "metadata.jsonl", "".join(f"{line}\n" for line in lines))
    write_whole(exported.out / "README.md", dataset_card(exported.run, exported.labels, len(lines)))


DATASET_FOLDER = "train"
FORMATS: Mapping[str, Format] = {
    "masks": Format(frozenset(), _no_file),
    "coco": Format(frozenset((COCO_PART, PANOPTIC)), _assemble_coco, require=coco.require_pycocotools),
    "cvat": Format(frozenset((CVAT_PART,)), _assemble_cvat),
    "labelstudio": Format(frozenset((LABELSTUDIO_PART,)), _assemble_labelstudio),
    "crops": Format(frozenset((CROPS_PART,)), _assemble_crops, has_maps=False, needs_pictures=False),
    "hf-dataset": Format(frozenset((IMAGES, LABELS)), _assemble_dataset, has_tables=False, folder=DATASET_FOLDER,
                         has_maps=False),
}  # fmt: skip
"""Every format by its name."""
