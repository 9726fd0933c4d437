"""What a label map says of its panorama, and the picture of it; prediction and export share both.

Legend: H W panorama (working size), h w picture at its own size, or a map at the network's own resolution.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.arrays import FloatArray, ImageArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.evaluate.indices import doubt, sky_view_factor
from pipeline.evaluate.map_picture import paint_map
from pipeline.evaluate.metrics import class_shares, resize_nearest
from pipeline.panorama.images import OpenedPanorama
from pipeline.panorama.level import level_values
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import solid_angles
from pipeline.panorama.tags import gpano_xmp, kept_exif, kept_xmp
from stages.files import write_picture

QUALITY = 90
"""JPEG quality of overlays."""


def map_facts(
    path: str,
    panorama: OpenedPanorama,
    labels_hw: LabelArray,
    confidence_HW: FloatArray,
    labels: LabelSet,
    vertical_fov: float,
) -> dict[str, Any]:
    """What the tables say of a panorama, as values for JSON.

    Args:
        path: the file's path as the tables have it.
        panorama: as it was opened; its placement is that of the labels.
        labels_hw: class ids of the picture's pixels, IGNORE where nothing was seen.
        confidence_HW: probability of the most probable class on the camera's canvas, at any size.
        labels: names of the classes.
        vertical_fov: degrees around the horizon that the canvas covers.
    """
    place = panorama.placement
    weights = solid_angles(place.canvas_height, place.canvas_width, vertical_fov)[place.rows]
    canvas_HW = place.put(labels_hw, IGNORE)
    if place.is_tilted:  # it takes seconds to level all pixels of a large picture
        canvas_HW = resize_nearest(canvas_HW, *panorama.image_HW3.shape[:2])
    unseen_HW = resize_nearest(canvas_HW, *confidence_HW.shape) == IGNORE
    return {
        "file": path,
        "seen": float(weights @ (labels_hw != IGNORE).sum(axis=1)) / (4 * math.pi),
        "shares": class_shares(labels_hw, len(labels), weights).tolist(),
        "sky_view_factor": sky_view_factor(level_values(canvas_HW, place), labels, vertical_fov),
        "doubt": doubt(confidence_HW, unseen_HW, solid_angles(*confidence_HW.shape, vertical_fov)),
        "capture": dataclasses.asdict(panorama.capture),
        "vertical_fov": vertical_fov,
    }


def write_overlay(
    path: Path,
    image_hw3: ImageArray,
    labels_hw: LabelArray,
    labels: LabelSet,
    place: Placement,
    vertical_fov: float,
    tags: Image.Image,
    *,
    own_geometry: bool = True,
) -> None:
    """Write the labels over a picture as a JPEG with a legend and the tags by which viewers know it as a panorama.

    Args:
        path: ends in .jpg.
        image_hw3: the picture.
        labels_hw: class ids of its pixels.
        labels: their names and colours.
        place: where the picture lies on the canvas.
        vertical_fov: degrees around the horizon that the canvas covers.
        tags: the panorama's file, whose EXIF and GPano tags are kept.
        own_geometry: the picture lies on the sphere as the file does; else its GPano tags are written anew.

    Raises:
        CacheError: the file cannot be written.
    """
    fov = vertical_fov * place.height / place.canvas_height
    painted = Image.fromarray(paint_map(image_hw3, labels_hw, labels, fov))
    xmp = kept_xmp(tags, place, vertical_fov) if own_geometry else gpano_xmp(place, vertical_fov)
    write_picture(path, painted, quality=QUALITY, exif=kept_exif(tags), xmp=xmp)
