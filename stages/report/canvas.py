"""One level canvas of 360 degrees for a panorama's picture and all of its maps.

Legend: H W canvas, h w map in its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.errors import InputError
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import ASPECT_TOLERANCE, open_panorama, picture_header
from pipeline.panorama.labels import read_labels
from pipeline.panorama.level import level_image, level_values
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES
from stages.report.source import AddedMap, SourcePanorama

PICTURE, OVERLAY, LABELS, RELIABLE = "picture", "overlays", "labels", "reliable"
COLOURS, CLASSES, NUMBERS, VALUES = "colours", "classes", "numbers", "values"
"""What the pixels of a layer are: colours; class ids; numbers of things, which get any colour; 0..255 for 0..1."""
KINDS: Mapping[str, str] = {
    PICTURE: COLOURS, OVERLAY: COLOURS, "assistant": CLASSES, "masks": NUMBERS, "mask-overlays": COLOURS,
    LABELS: CLASSES, RELIABLE: CLASSES, "reliability": VALUES, "agreement": VALUES, "confidence": VALUES,
    "unknown": NUMBERS, "unknown-overlays": COLOURS, "student": CLASSES, "truth": CLASSES,
}  # fmt: skip
"""All layers that a source has by itself, in the order of the method; further ones, which are added, are class ids."""
NUMBER_COLOURS = 251
"""Masks share so many colours; those of neighbouring numbers are far apart."""
LAYER_NAMES: Mapping[str, str] = {
    PICTURE: "panorama", OVERLAY: "overlay", "assistant": "assistant", "masks": "SAM's masks",
    "mask-overlays": "SAM's masks, overlay", LABELS: "labels", RELIABLE: "reliable labels",
    "reliability": "reliability", "agreement": "assistants' agreement", "confidence": "confidence",
    "unknown": "unknown objects", "unknown-overlays": "unknown objects, overlay", "student": "student",
    "truth": "truth",
}  # fmt: skip
"""What layers are called on the page, unless the source knows better."""
assert LAYER_NAMES.keys() == KINDS.keys()
_OVERLAY_OF: Mapping[str, str] = {OVERLAY: LABELS, "mask-overlays": "masks", "unknown-overlays": "unknown"}
"""Which map is painted over the pictures of a folder."""
_GREY_SIZE = (128, 256)


def kind_of(layer: str) -> str:
    """What the pixels of a layer are."""
    return KINDS.get(layer, CLASSES)


@dataclass(frozen=True)
class Canvas:
    """The picture that a panorama's maps are laid over, and where it lies."""

    key: str
    """The layer that it is; empty where a map stands for it."""
    image_HW3: ImageArray
    """RGB, level."""
    placement: Placement
    """Of the picture's own pixels."""
    width: int
    """That was wanted, pixels."""

    @classmethod
    def of(cls, panorama: SourcePanorama, width: int) -> Canvas:
        """The canvas of a panorama's picture, else of its overlay, else in the shape of its label map.

        Args:
            panorama: where its files are.
            width: pixels; a smaller picture has its own.

        Raises:
            InputError: the picture cannot be read.
        """
        key, path = PICTURE, panorama.picture
        if path is None:
            key, path = OVERLAY, panorama.maps.get(OVERLAY)
        if path is None:
            return cls._of_labels(panorama, width)
        image_HW3, place = _open(path, width, panorama.vertical_fov, panorama.level)
        return cls(key, image_HW3, place, width)

    @classmethod
    def _of_labels(cls, panorama: SourcePanorama, width: int) -> Canvas:
        """Without a picture: the canvas that has the shape of the label map, painted as the map, or grey."""
        found = maps_of(panorama)
        if not found:
            return cls("", np.full((*_GREY_SIZE, 3), 128, np.uint8), Placement.whole(64, 128), width)
        key = LABELS if LABELS in found else found[0]
        map_hw = _read_map(panorama.maps[key], key)
        fov = panorama.vertical_fov or _vertical_fov(map_hw.shape[1], map_hw.shape[0])
        config = PanoramaConfig(_usable_width(map_hw.shape[1], width), fov)
        place = replace(Placement.whole(*map_hw.shape), vertical_fov=fov)
        painted = _painted(panorama.maps[key], map_hw, key)
        return cls("", resize_nearest(painted, config.height, config.width), place, width)

    def map_of(self, panorama: SourcePanorama, key: str, maps_are_level: bool) -> LabelArray:
        """One of the panorama's own maps on the canvas: bytes [H, W], numbers as those of their colours.

        Raises:
            InputError: it cannot be read, or has another shape than the picture.
        """
        path = panorama.maps[key]
        map_hw = _read_map(path, key)
        if not maps_are_level:
            self._require_shape(path, map_hw.shape[1], map_hw.shape[0])
        return self._put(map_hw, 0 if kind_of(key) == VALUES else IGNORE, maps_are_level)

    def added(self, added: AddedMap) -> LabelArray:
        """A label map from elsewhere on the canvas: the report's classes [H, W], IGNORE for none.

        Raises:
            InputError: it cannot be read, has another shape than the picture, or ids of no class.
        """

        def check(width: int, height: int) -> None:
            if not added.is_level:
                self._require_shape(added.path, width, height)

        remedy = "Name the classes of these files with --labels-set, or convert them to class ids"
        map_hw = read_labels(added.path, added.labels, check_size=check, remedy=remedy)
        table = np.full(256, IGNORE, np.uint8)
        table[: len(added.own_class)] = added.own_class
        return self._put(table[map_hw], IGNORE, added.is_level)

    def overlay(self, path: Path, vertical_fov: float | None) -> ImageArray:
        """Another picture of the panorama on the canvas: RGB [H, W, 3].

        Raises:
            InputError: it cannot be read.
        """
        image_HW3 = _open(path, self.width, vertical_fov)[0]
        return resize_nearest(image_HW3, *self.image_HW3.shape[:2])

    def _put(self, map_hw: LabelArray, outside: int, is_level: bool) -> LabelArray:
        """A map of the level canvas's pixels, or of the picture's, on the canvas [H, W]."""
        height, width = self.image_HW3.shape[:2]
        if is_level:
            return resize_nearest(map_hw, height, width)
        rows, columns = self.placement.box(height, width)
        canvas_HW = np.full((height, width), outside, np.uint8)
        canvas_HW[rows, columns] = resize_nearest(map_hw, rows.stop - rows.start, columns.stop - columns.start)
        return level_values(canvas_HW, self.placement)

    def _require_shape(self, path: Path, width: int, height: int) -> None:
        place = self.placement
        if abs(width * place.height / (height * place.width) - 1) > ASPECT_TOLERANCE:
            raise InputError(f"{path} is {width}x{height}",
                             f"a map has the shape of its picture, which is {place.width}x{place.height}",
                             "Make it of this picture, or name the folder of its own")  # fmt: skip


def maps_of(panorama: SourcePanorama) -> list[str]:
    """The maps of its own that a panorama is shown with, in the order of KINDS."""
    return [key for key in KINDS
            if kind_of(key) != COLOURS and key in panorama.maps and key not in panorama.added]  # fmt: skip


def overlays_of(panorama: SourcePanorama) -> list[str]:
    """The overlays that a panorama is shown with: those that the viewer could not mix of a picture and a map."""
    return [key for key, map_ in _OVERLAY_OF.items()
            if key in panorama.maps and not (panorama.picture and map_ in panorama.maps)]  # fmt: skip


def _open(path: Path, width: int, vertical_fov: float | None, level: str = "tags") -> tuple[ImageArray, Placement]:
    """A picture, level unless that is off; what a band without tags covers is noted in the table, or else said by its
    shape."""
    header = picture_header(path)
    usual = PanoramaConfig(_usable_width(header.width if header else width, width),
                           vertical_fov or FULL_SPHERE_DEGREES, level=level)  # fmt: skip
    try:
        opened = open_panorama(path, usual)
    except InputError:
        if header is None or header.width <= 2 * header.height:
            raise
        opened = open_panorama(path, replace(usual, vertical_fov=_vertical_fov(header.width, header.height)))
    return level_image(opened.image_HW3, opened.placement), opened.placement


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
        raise InputError(f"{path} cannot be read ({error})", "maps must be PNGs as the export or prediction wrote them",
                         "Write it again (--overwrite)") from error  # fmt: skip
    if kind_of(key) != NUMBERS:
        return map_hw.astype(np.uint8)
    numbers_hw = map_hw.astype(np.int64) * 97 % NUMBER_COLOURS
    return np.where(map_hw == 0, IGNORE, numbers_hw).astype(np.uint8)


def _painted(path: Path, map_hw: LabelArray, key: str) -> ImageArray:
    """A map as a picture, for the gallery: in its palette if it has one, else grey."""
    if kind_of(key) == CLASSES:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    return np.repeat(map_hw[..., None], 3, axis=2)
