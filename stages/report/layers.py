"""A panorama's maps as textures of the viewer: one level canvas of 360 degrees for all, as data URIs.

Browsers do not let a page of file:// read the pixels of picture files, so that WebGL cannot draw them;
data URIs it can.

Legend: H W canvas of the viewer, h w map in its file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.errors import InputError
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama, picture_header
from pipeline.panorama.level import level_image, level_values
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES
from stages.report.source import SourcePanorama

PICTURE, OVERLAY, LABELS = "picture", "overlays", "labels"
COLOURS, CLASSES, NUMBERS, VALUES = "colours", "classes", "numbers", "values"
"""What the pixels of a layer are: colours; class ids; numbers of things, which get any colour; 0..255 for 0..1."""
KINDS: Mapping[str, str] = {
    PICTURE: COLOURS, OVERLAY: COLOURS, "assistant": CLASSES, "masks": NUMBERS, LABELS: CLASSES, "reliability": VALUES,
    "confidence": VALUES, "unknown": NUMBERS, "student": CLASSES, "truth": CLASSES,
}  # fmt: skip
"""All layers, in the order of the method."""
NUMBER_COLOURS = 251
"""Masks share so many colours; those of neighbouring numbers are far apart."""
_THUMBNAIL = 256
_QUALITY = 85
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True)
class PanoramaLayers:
    """What the viewer and the gallery show of one panorama."""

    vertical_fov: float
    """Degrees around the horizon that the layers cover."""
    layers: Mapping[str, str]
    """Data URI by layer, in the order of KINDS."""
    thumbnail: bytes
    """JPEG."""

    def record(self) -> dict[str, Any]:
        """For the viewer, as values for JSON."""
        layers = [{"key": key, "kind": KINDS[key], "url": url} for key, url in self.layers.items()]
        return {"verticalFov": self.vertical_fov, "layers": layers}


def panorama_layers(panorama: SourcePanorama, width: int, maps_are_level: bool, with_viewer: bool) -> PanoramaLayers:
    """Read a panorama's files and bring them onto one canvas.

    Args:
        panorama: where its files are.
        width: of the canvas, pixels; a smaller picture has its own.
        maps_are_level: whether maps are of the level canvas already, else of the picture's own pixels.
        with_viewer: whether layers are wanted, else the thumbnail only.

    Raises:
        InputError: a file cannot be read.
    """
    canvas = _Canvas.of(panorama, width, maps_are_level)
    thumbnail = _encoded(_thumbnail(canvas.image_HW3), "JPEG", quality=_THUMBNAIL_QUALITY)
    layers: dict[str, str] = {}
    if with_viewer:
        if canvas.key:
            layers[canvas.key] = _jpeg_uri(canvas.image_HW3)
        for key in _maps_of(panorama):
            outside = 0 if KINDS[key] == VALUES else IGNORE
            layers[key] = _png_uri(canvas.put(_read_map(panorama.maps[key], key), outside))
    return PanoramaLayers(canvas.placement.vertical_fov, layers, thumbnail)


@dataclass(frozen=True)
class _Canvas:
    """The picture that a panorama's maps are laid over, and where it lies."""

    key: str
    """The layer that it is; empty where a map stands for it."""
    image_HW3: ImageArray
    """RGB, level."""
    placement: Placement
    """Of the maps' pixels."""

    @classmethod
    def of(cls, panorama: SourcePanorama, width: int, maps_are_level: bool) -> _Canvas:
        key, path = PICTURE, panorama.picture
        if path is None:
            key, path = OVERLAY, panorama.maps.get(OVERLAY)
        if path is None:
            return cls._of_labels(panorama, width)
        opened = _open(path, width, panorama.vertical_fov)
        image_HW3, place = level_image(opened[0], opened[1]), opened[1]
        if maps_are_level:
            place = replace(Placement.whole(*image_HW3.shape[:2]), vertical_fov=place.vertical_fov)
        return cls(key, image_HW3, place)

    @classmethod
    def _of_labels(cls, panorama: SourcePanorama, width: int) -> _Canvas:
        """Without a picture: the canvas that has the shape of the label map, grey."""
        found = _maps_of(panorama)
        if not found:
            return cls("", np.full((_THUMBNAIL // 2, _THUMBNAIL, 3), 128, np.uint8), Placement.whole(64, 128))
        key = LABELS if LABELS in found else found[0]
        map_hw = _read_map(panorama.maps[key], key)
        fov = panorama.vertical_fov or _vertical_fov(map_hw.shape[1], map_hw.shape[0])
        config = PanoramaConfig(_usable_width(map_hw.shape[1], width), fov)
        place = replace(Placement.whole(*map_hw.shape), vertical_fov=fov)
        painted = _painted(panorama.maps[key], map_hw, key)
        return cls("", resize_nearest(painted, config.height, config.width), place)

    def put(self, map_hw: LabelArray, outside: int) -> LabelArray:
        """A map of the picture's pixels, or of the canvas's, on the level canvas [H, W]."""
        height, width = self.image_HW3.shape[:2]
        rows, columns = self.placement.box(height, width)
        canvas_HW = np.full((height, width), outside, np.uint8)
        canvas_HW[rows, columns] = resize_nearest(map_hw, rows.stop - rows.start, columns.stop - columns.start)
        return level_values(canvas_HW, self.placement)


def _maps_of(panorama: SourcePanorama) -> list[str]:
    """The layers that a panorama has maps of, in the order of KINDS."""
    return [key for key, kind in KINDS.items() if kind != COLOURS and key in panorama.maps]


def _open(path: Path, width: int, vertical_fov: float | None) -> tuple[ImageArray, Placement]:
    """A picture on its canvas; what a band without tags covers is noted in the table, or else said by its shape."""
    header = picture_header(path)
    usual = PanoramaConfig(_usable_width(header.width if header else width, width),
                           vertical_fov or FULL_SPHERE_DEGREES)  # fmt: skip
    try:
        opened = open_panorama(path, usual)
    except InputError:
        if header is None or header.width <= 2 * header.height:
            raise
        opened = open_panorama(path, replace(usual, vertical_fov=_vertical_fov(header.width, header.height)))
    return opened.image_HW3, opened.placement


def _vertical_fov(width: int, height: int) -> float:
    """Degrees that the rows of a picture of 360 degrees cover."""
    return min(FULL_SPHERE_DEGREES, 360 * height / width)


def _usable_width(own: int, wanted: int) -> int:
    """No wider than the picture; a multiple of 32, as working sizes are."""
    return max(32, min(own, wanted) // 32 * 32)


def _read_map(path: Path, key: str) -> LabelArray:
    """A layer's map as bytes; numbers as those of their colours, IGNORE for none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            map_hw = np.array(picture)
        if map_hw.ndim != 2:
            raise ValueError(f"it has {map_hw.shape[-1]} channels")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read ({error})", "maps are PNGs as the export or prediction wrote them",
                         "Write it again (--overwrite)") from error  # fmt: skip
    if KINDS[key] != NUMBERS:
        return map_hw.astype(np.uint8)
    numbers_hw = map_hw.astype(np.int64) * 97 % NUMBER_COLOURS
    return np.where(map_hw == 0, IGNORE, numbers_hw).astype(np.uint8)


def _painted(path: Path, map_hw: LabelArray, key: str) -> ImageArray:
    """A map as a picture, for the gallery: in its palette if it has one, else grey."""
    if KINDS[key] == CLASSES:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    return np.repeat(map_hw[..., None], 3, axis=2)


def _thumbnail(image_HW3: ImageArray) -> Image.Image:
    height, width = image_HW3.shape[:2]
    size = (_THUMBNAIL, max(1, round(_THUMBNAIL * height / width)))
    return Image.fromarray(image_HW3).resize(size, Image.Resampling.BOX)


def _jpeg_uri(image_HW3: ImageArray) -> str:
    return _uri("jpeg", _encoded(Image.fromarray(image_HW3), "JPEG", quality=_QUALITY))


def _png_uri(values_HW: npt.NDArray[np.uint8]) -> str:
    return _uri("png", _encoded(Image.fromarray(values_HW), "PNG", compress_level=9))


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_uri(content: bytes) -> str:
    """A JPEG file as a data URI."""
    return _uri("jpeg", content)
