"""A panorama's maps as textures of the viewer, as data URIs.

Browsers do not let a page of file:// read the pixels of picture files, so that WebGL cannot draw them;
data URIs it can.

Legend: H W canvas of the viewer.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.errors import GoodSAMError
from stages.report.agreement import Agreement
from stages.report.canvas import CLASSES, KINDS, RELIABLE, Canvas, kind_of, maps_of, overlays_of
from stages.report.source import SourcePanorama

_THUMBNAIL = 256
_QUALITY = 85
_THUMBNAIL_QUALITY = 80


@dataclass(frozen=True)
class PanoramaLayers:
    """What the viewer and the gallery show of one panorama."""

    vertical_fov: float
    """Degrees around the horizon that the layers cover."""
    layers: Mapping[str, str]
    """Data URI by layer: those of KINDS in their order, then those that are added."""
    thumbnail: bytes
    """JPEG."""
    agreement: Agreement
    """How far its label maps agree."""
    left_out: Mapping[str, str]
    """Why, by layer, for maps that are added and cannot be used; a sentence each."""

    def record(self) -> dict[str, Any]:
        """For the viewer, as values for JSON."""
        layers = [{"key": key, "kind": kind_of(key), "url": url} for key, url in self.layers.items()]
        return {"verticalFov": self.vertical_fov, "layers": layers}


def panorama_layers(
    panorama: SourcePanorama, width: int, maps_are_level: bool, with_viewer: bool, classes: int
) -> PanoramaLayers:
    """Read a panorama's files and bring them onto one canvas.

    Args:
        panorama: where its files are.
        width: of the canvas, pixels; a smaller picture has its own.
        maps_are_level: whether its own maps are of the level canvas already, else of the picture's own pixels.
        with_viewer: whether layers are wanted, else the thumbnail and how far label maps agree.
        classes: how many there are.

    Raises:
        InputError: one of its own files cannot be read, or a map has another shape than the picture.
    """
    canvas = Canvas.of(panorama, width)
    own = {key: canvas.map_of(panorama, key, maps_are_level) for key in maps_of(panorama)
           if with_viewer or _says_classes(key)}  # fmt: skip
    added, left_out = _added(panorama, canvas)
    maps = {**own, **added}
    layers: dict[str, str] = {}
    if with_viewer:
        layers = {canvas.key: _jpeg_uri(canvas.image_HW3)} if canvas.key else {}
        layers |= {key: _jpeg_uri(canvas.overlay(panorama.maps[key], panorama.vertical_fov))
                   for key in overlays_of(panorama) if key != canvas.key}  # fmt: skip
        layers |= {key: _png_uri(map_HW) for key, map_HW in maps.items()}
    compared = {key: map_HW for key, map_HW in maps.items() if _says_classes(key)}
    agreement = Agreement.of(compared, classes, canvas.placement.vertical_fov)
    thumbnail = _encoded(_thumbnail(canvas.image_HW3), "JPEG", quality=_THUMBNAIL_QUALITY)
    return PanoramaLayers(canvas.placement.vertical_fov, _in_order(layers), thumbnail, agreement, left_out)


def _says_classes(key: str) -> bool:
    """Whether a layer is somebody's answer to what is where; the reliable labels are a part of another one."""
    return kind_of(key) == CLASSES and key != RELIABLE


def _added(panorama: SourcePanorama, canvas: Canvas) -> tuple[dict[str, LabelArray], dict[str, str]]:
    """(Map by layer, of those from elsewhere; why, by layer, of those that cannot be used)."""
    found, left_out = dict[str, LabelArray](), dict[str, str]()
    for key, added in panorama.added.items():
        try:
            found[key] = canvas.added(added)
        except GoodSAMError as error:
            left_out[key] = str(error)
    return found, left_out


def _in_order(layers: Mapping[str, str]) -> dict[str, str]:
    keys = [*(key for key in KINDS if key in layers), *(key for key in layers if key not in KINDS)]
    return {key: layers[key] for key in keys}


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
