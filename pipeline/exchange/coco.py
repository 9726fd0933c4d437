"""COCO: a segment per class with run lengths (pycocotools), and the panoptic map of segments.

Ids count from 1 (class id + 1), as 0 stands for unlabelled pixels in panoptic maps. Segments are areas of a class
("stuff"): single objects are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import InputError
from pipeline.exchange.regions import class_regions


def require_pycocotools() -> None:
    """Refuse to work without pycocotools.

    Raises:
        InputError: it is not installed.
    """
    if find_spec("pycocotools") is None:
        raise InputError(
            "pycocotools is not installed", "exports in COCO's format need it", "Run `pip install pycocotools`"
        )


def categories(labels: LabelSet) -> list[dict[str, Any]]:
    """The classes as COCO has them."""
    return [
        {"id": class_id + 1, "name": name, "supercategory": "", "isthing": 0, "color": list(colour)}
        for class_id, (name, colour) in enumerate(zip(labels.names, labels.palette, strict=True))
    ]


def segments(labels_hw: LabelArray) -> list[dict[str, Any]]:
    """The segments of a label map: category_id, segmentation (compressed run lengths), area, bbox [x, y, w, h]."""
    from pycocotools import mask as coco_mask

    found: list[dict[str, Any]] = []
    for class_id, mask_hw in class_regions(labels_hw):
        runs: Any = coco_mask.encode(np.asfortranarray(mask_hw, np.uint8))
        found.append({
            "category_id": class_id + 1,
            "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
            "area": int(coco_mask.area(runs)),
            "bbox": [float(value) for value in coco_mask.toBbox(runs)],
            "iscrowd": 0,
        })  # fmt: skip
    return found


def panoptic_map(labels_hw: LabelArray) -> ImageArray:
    """Segment ids as RGB [h, w, 3] (id = red + 256 green + 256**2 blue): those of categories, 0 for none."""
    map_hw3 = np.zeros((*labels_hw.shape, 3), np.uint8)
    map_hw3[..., 0] = np.where(labels_hw == IGNORE, np.uint8(0), labels_hw + np.uint8(1))
    return map_hw3


def panoptic_segments(segments_of_picture: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`segments_info` of a picture's panoptic map."""
    return [
        {"id": segment["category_id"], **{key: segment[key] for key in ("category_id", "area", "bbox", "iscrowd")}}
        for segment in segments_of_picture
    ]
