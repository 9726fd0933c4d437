"""CVAT for images 1.1: masks as run lengths row by row inside their box, background first; polygons and boxes are read.

A box is turned about its middle by `rotation`, degrees clockwise.

Legend: h w picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import IO
from xml.etree.ElementTree import Element, ParseError, SubElement, iterparse, tostring

import numpy as np

from pipeline.arrays import BoolArray, LabelArray
from pipeline.classes import LabelSet
from pipeline.errors import InputError
from pipeline.exchange.polygon import box_corners, fill_polygon, turned
from pipeline.exchange.regions import (
    LabelledPicture,
    class_id_of,
    class_regions,
    mask_of_runs,
    paint_regions,
    require_possible_size,
    require_upright,
    run_lengths,
)

VERSION = "1.1"
_SHAPES = ("mask", "polygon", "box")
_OTHERS = ("polyline", "points", "ellipse", "cuboid", "skeleton")


def meta(labels: LabelSet, name: str, size: int) -> str:
    """The XML element that describes the task.

    Args:
        labels: its classes.
        name: of the task.
        size: number of pictures.
    """
    root = Element("meta")
    task = SubElement(root, "task")
    for key, value in {"name": name, "size": size, "mode": "annotation", "overlap": 0, "flipped": False}.items():
        SubElement(task, key).text = str(value)
    classes = SubElement(task, "labels")
    for class_name, colour in zip(labels.names, labels.palette, strict=True):
        label = SubElement(classes, "label")
        SubElement(label, "name").text = class_name
        SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*colour)
        SubElement(label, "type").text = "mask"
        SubElement(label, "attributes")
    return tostring(root, encoding="unicode")


def label_constructor(labels: LabelSet) -> list[dict[str, object]]:
    """The classes as CVAT's raw label constructor takes them."""
    return [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour), "type": "mask", "attributes": []}
        for name, colour in zip(labels.names, labels.palette, strict=True)
    ]


def masks_xml(labels_hw: LabelArray, labels: LabelSet) -> str:
    """The `mask` elements of a picture, one per class."""
    return "".join(
        tostring(_mask_element(mask_hw, labels.names[class_id]), encoding="unicode")
        for class_id, mask_hw in class_regions(labels_hw)
    )


def image_xml(number: int, name: str, height: int, width: int, masks: str) -> str:
    """The `image` element of a picture.

    Args:
        number: its number in the task, from 0 on.
        name: its file as CVAT has it.
        height: rows.
        width: columns.
        masks: of `masks_xml`.
    """
    element = Element("image", id=str(number), name=name, width=str(width), height=str(height))
    element.text = ""
    return tostring(element, encoding="unicode", short_empty_elements=False).replace("></image>", f">{masks}</image>")


def _mask_element(mask_hw: BoolArray, label: str) -> Element:
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box_hw = mask_hw[top : rows[-1] + 1, left : columns[-1] + 1]
    runs = run_lengths(box_hw.ravel()).tolist()
    counts = [0, *runs] if box_hw[0, 0] else runs
    return Element("mask", label=label, source="auto", occluded="0", rle=", ".join(map(str, counts)), left=str(left),
                   top=str(top), width=str(box_hw.shape[1]), height=str(box_hw.shape[0]), z_order="0")  # fmt: skip


_EXPECTED = "it must be XML in the format CVAT for images 1.1"


def read_cvat(source: IO[bytes] | bytes, labels: LabelSet, where: str) -> Iterator[LabelledPicture]:
    """The labelled pictures of an export, one at a time; those without any shape are left out.

    Args:
        source: annotations.xml.
        labels: the classes.
        where: name of the file, for messages.

    Raises:
        InputError: it is no such file, is damaged, or has shapes or classes that label maps do not have.
    """
    found_root = False
    try:
        for event, element in iterparse(BytesIO(source) if isinstance(source, bytes) else source, ("start", "end")):
            if event == "start":
                found_root = found_root or element.tag == "annotations"
            elif element.tag == "track":
                raise InputError(f"{where} is an export for videos", _EXPECTED,
                                 "Export it in that format")  # fmt: skip
            elif element.tag == "image":
                if (picture := _picture(element, labels, where)) is not None:
                    yield picture
                element.clear()
    except (ParseError, LookupError, ValueError) as error:  # the last two of encodings that Python lacks
        raise InputError(f"{where} is damaged ({error})", _EXPECTED,
                         "Export the annotations again") from error  # fmt: skip
    if not found_root:
        raise InputError(f"{where} has no <annotations>", _EXPECTED,
                         "Name the annotations.xml of a CVAT export")  # fmt: skip


def _picture(element: Element, labels: LabelSet, where: str) -> LabelledPicture | None:
    name = element.get("name", "")
    place = f"{where}: {name or 'a picture without a name'}"
    if others := sorted({shape.tag for shape in element if shape.tag in _OTHERS}):
        raise InputError(f"{place} has the shape {others[0]!r}", f"label maps are made of {', '.join(_SHAPES)}",
                         "Turn it into a mask or a polygon in CVAT, or remove it")  # fmt: skip
    shapes = [shape for shape in element if shape.tag in _SHAPES]
    if not shapes:
        return None
    try:
        height, width = int(element.attrib["height"]), int(element.attrib["width"])
        require_possible_size(height, width, place)
        ordered = sorted(shapes, key=lambda shape: int(shape.get("z_order", "0")))
        regions = [(class_id_of(shape.get("label", ""), labels, place), _region(shape, height, width, place))
                   for shape in ordered]  # fmt: skip
    except (LookupError, OverflowError, ValueError) as error:
        raise InputError(f"{place} has an annotation that cannot be read ({type(error).__name__}: {error})",
                         "it must be as CVAT writes it", "Export the annotations again") from error  # fmt: skip
    return LabelledPicture(name, paint_regions(height, width, regions))


def _region(shape: Element, height: int, width: int, where: str) -> BoolArray:
    degrees = float(shape.get("rotation", "0"))
    if shape.tag == "box":
        left, top, right, bottom = (float(shape.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        middle = (left + right) / 2, (top + bottom) / 2
        return fill_polygon(turned(box_corners(left, top, right, bottom), degrees, middle), height, width)
    require_upright(degrees, f"a {shape.tag}", where)
    if shape.tag == "mask":
        return _mask(shape, height, width, where)
    points = [tuple(map(float, point.split(","))) for point in shape.attrib["points"].split(";")]
    return fill_polygon([(point[0], point[1]) for point in points], height, width)


def _mask(shape: Element, height: int, width: int, where: str) -> BoolArray:
    left, top, columns, rows = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
        raise InputError(f"{where} has a mask that reaches beyond its {width}x{height} pixels",
                         "masks must lie inside the picture", "Export the annotations again")  # fmt: skip
    counts = np.array([int(count) for count in shape.attrib["rle"].split(",")], np.int64)
    mask_hw = np.zeros((height, width), np.bool_)
    mask_hw[top : top + rows, left : left + columns] = mask_of_runs(counts, rows, columns, where)
    return mask_hw
