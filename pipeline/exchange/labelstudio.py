"""Label Studio: tasks with brush masks as predictions, which people correct, and exports of their annotations.

A rectangle is turned about its upper left corner (x, y) by `rotation`, degrees clockwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from pipeline.arrays import BoolArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.errors import InputError
from pipeline.exchange.brush import decode_brush, encode_brush
from pipeline.exchange.polygon import box_corners, fill_polygon, turned
from pipeline.exchange.regions import (
    LabelledPicture,
    class_id_of,
    class_regions,
    paint_regions,
    require_possible_size,
    require_upright,
)

CONTROL, OBJECT = "label", "image"
"""Names of the control tag and of the picture in the labelling interface."""
_TYPES = ("brushlabels", "polygonlabels", "rectanglelabels")


def interface_xml(labels: LabelSet) -> str:
    """The labelling interface: brush labels in the colours of the classes over a picture that can be zoomed."""
    view = Element("View")
    SubElement(view, "Image", name=OBJECT, value=f"${OBJECT}", zoom="true", zoomControl="true")
    brush = SubElement(view, "BrushLabels", name=CONTROL, toName=OBJECT)
    for name, colour in zip(labels.names, labels.palette, strict=True):
        SubElement(brush, "Label", value=name, background="#{:02x}{:02x}{:02x}".format(*colour))
    indent(view)
    return tostring(view, encoding="unicode") + "\n"


def results(labels_hw: LabelArray, labels: LabelSet) -> list[dict[str, Any]]:
    """A label map as results of a task: one brush mask per class."""
    height, width = labels_hw.shape
    return [
        {
            "id": f"class{class_id}", "type": "brushlabels", "from_name": CONTROL, "to_name": OBJECT,
            "original_width": width, "original_height": height, "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask_hw), "brushlabels": [labels.names[class_id]]},
        }
        for class_id, mask_hw in class_regions(labels_hw)
    ]  # fmt: skip


def task(address: str, name: str, sha256: str, found: list[dict[str, Any]], size: str = "") -> dict[str, Any]:
    """A task.

    Args:
        address: where Label Studio finds the picture.
        name: of the picture's file.
        sha256: of its content, by which an export is matched.
        found: of `results`.
        size: whether the picture has its own size or the working size.
    """
    data = {OBJECT: address, "panorama": name, "sha256": sha256, "size": size}
    return {"data": data, "predictions": [{"model_version": "goodsam ensemble", "result": found}]}


def read_labelstudio(tasks: Any, labels: LabelSet, where: str) -> Iterator[LabelledPicture]:
    """The labelled pictures of a JSON export; tasks that nobody has annotated are left out.

    Where a task has several annotations, the last one that was not cancelled counts. Later regions lie on top.

    Args:
        tasks: the parsed JSON.
        labels: the classes.
        where: name of the file, for messages.

    Raises:
        InputError: it is no such export, is damaged, or has regions or classes that label maps do not have.
    """
    if not isinstance(tasks, list) or not all(
        isinstance(one, dict) and isinstance(one.get("data"), dict) for one in tasks
    ):
        raise InputError(f"{where} is not a list of tasks", "it must be an export of Label Studio (JSON, not JSON-MIN)",
                         "Export the project as JSON")  # fmt: skip
    for number, one in enumerate(tasks):
        name = str(one["data"].get("panorama") or one["data"].get(OBJECT) or f"task {one.get('id', number)}")
        place = f"{where}: {name}"
        try:
            kept = [a["result"] for a in one.get("annotations") or () if not a.get("was_cancelled")]
            if not kept:
                continue
            labels_hw = _picture(kept[-1], labels, place)
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f"{place} has an annotation that cannot be read ({type(error).__name__}: {error})",
                             "it must be as Label Studio writes it",
                             "Export the annotations again") from error  # fmt: skip
        if labels_hw is not None:
            sha256, size = (str(one["data"].get(key) or "") for key in ("sha256", "size"))
            yield LabelledPicture(name, labels_hw, sha256, size)


def _picture(found: list[Mapping[str, Any]], labels: LabelSet, where: str) -> LabelArray | None:
    regions = [one for one in found
               if one.get("type") in _TYPES or ("value" in one and one.get("type") != "choices")]  # fmt: skip
    if empty := [result for result in regions if "value" not in result]:
        raise InputError(f"{where} has a region of the type {empty[0]['type']!r} without a value",
                         "its value says where it lies", "Draw it again, or export the annotations again")  # fmt: skip
    if not regions:
        return None
    sizes = {(int(result["original_height"]), int(result["original_width"])) for result in regions}
    if len(sizes) > 1:
        raise InputError(f"{where} has regions drawn on pictures of different sizes", "a task has one picture",
                         "Export the annotations again")  # fmt: skip
    height, width = sizes.pop()
    require_possible_size(height, width, where)
    return paint_regions(height, width, (_region(result, height, width, labels, where) for result in regions))


def _region(result: Mapping[str, Any], height: int, width: int, labels: LabelSet, where: str) -> tuple[int, BoolArray]:
    kind, value = str(result["type"]), result["value"]
    if kind not in _TYPES:
        raise InputError(f"{where} has a region of the type {kind!r}", f"label maps are made of {', '.join(_TYPES)}",
                         "Draw it with the brush, or remove it")  # fmt: skip
    class_id = class_id_of(str(value[kind][0]), labels, where)
    degrees, percent_2 = float(value.get("rotation") or 0), np.array((width / 100, height / 100))
    if kind == "rectanglelabels":  # turned in pixels: a percent of the width is none of the height
        left, top = (float(value["x"]), float(value["y"])) * percent_2
        across, down = (float(value["width"]), float(value["height"])) * percent_2
        corners_42 = turned(box_corners(left, top, left + across, top + down), degrees, (left, top))
        return class_id, fill_polygon(corners_42, height, width)
    require_upright(degrees, f"a region of the type {kind!r}", where)
    if kind == "brushlabels":
        return class_id, decode_brush(value["rle"], height, width, where)
    return class_id, fill_polygon(np.array(value["points"], float) * percent_2, height, width)
