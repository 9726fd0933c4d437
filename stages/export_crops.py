"""Perspective crops of an export: pairs of a picture and its labels, as an ordinary camera would see the street.

<out>/
    images/<id>/<view>.jpg    the picture of a view
    labels/<id>/<view>.png    class ids of its pixels, 255 where nothing was seen
    crops.csv                 a row per pair: files, panorama, yaw, pitch and field of view

Views are those of the recipe (`views.*`), or as `goodsam export --views` says. They are cut from the level sphere.

Legend: H W level canvas, at the working size or at the picture's own; h w view.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.errors import RecipeError
from pipeline.panorama.config import GRID, ViewsConfig
from pipeline.panorama.images import open_panorama
from pipeline.panorama.level import level_image
from pipeline.panorama.perspective import PerspectiveView, perspective_views
from pipeline.panorama.sampling import PerspectiveSampler
from stages.corrections import pixels_digest
from stages.export_maps import CachedMaps
from stages.files import write_picture, write_whole
from stages.label_files import PIXELS, write_labels

TABLE = "crops.csv"
_OPTIONS = ("level", "down", "up", "nadir", "zenith", "tilt", "fov", "size")
"""Settings of `views` that `--views` may change."""
_QUALITY = 95
_COLUMNS = ("image", "label", "panorama", "yaw", "pitch", "horizontal_fov")


@dataclass(frozen=True)
class Crop:
    """A view and its name."""

    name: str
    """Its direction, "yaw045-pitch-38": unique among the views of a panorama."""
    view: PerspectiveView
    """Of the working size."""


@dataclass(frozen=True)
class WrittenCrop:
    """A pair of files, relative to the export's folder, and its direction in degrees."""

    image: str
    label: str
    yaw: float
    pitch: float
    horizontal_fov: float


def crop_settings(views: ViewsConfig, changes: str) -> ViewsConfig:
    """The views of a recipe with what an option changes.

    Args:
        views: the recipe's.
        changes: "level=8,down=0,fov=90,size=512"; empty for none.

    Raises:
        RecipeError: it is no list of settings, or one is refused.
    """
    changed: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in changes.split(","))):
        key, _, text = pair.partition("=")
        kind = float if key in ("tilt", "fov") else int
        try:
            if key not in _OPTIONS:
                raise ValueError
            changed[key] = kind(text)
        except ValueError:
            raise RecipeError(f"--views has {pair!r}", f"it is a list of numbers of {', '.join(_OPTIONS)}",
                              "Write it as in --views level=8,down=0,fov=90,size=512") from None  # fmt: skip
    return dataclasses.replace(views, **changed)


def crops_of(height: int, width: int, vertical_fov: float, views: ViewsConfig) -> list[Crop]:
    """The crops of a canvas, with names of their directions.

    Raises:
        RecipeError: there are none.
    """
    found = perspective_views(height, width, vertical_fov, views)
    if not found:
        raise RecipeError("there are no views to cut", "the recipe's `views`, or --views, has some in each direction",
                          "Write for example --views level=8")  # fmt: skip
    names = [f"yaw{round(view.yaw) % 360:03d}-pitch{round(view.pitch):+03d}" for view in found]
    counts, seen = Counter(names), Counter[str]()
    unique: list[str] = []
    for name in names:
        seen[name] += 1
        unique.append(name if counts[name] == 1 else f"{name}-{seen[name]}")
    return [Crop(name, view) for name, view in zip(unique, found, strict=True)]


def write_crops(
    out: Path, name: str, maps: CachedMaps, views: ViewsConfig, notes: Mapping[str, str]
) -> list[WrittenCrop]:
    """Write the pairs of one panorama.

    Args:
        out: the export's folder.
        name: of the panorama.
        maps: its cached results.
        views: which views.
        notes: for the label files.

    Raises:
        RecipeError: there are no views.
        GoodSAMError: the picture cannot be read, or a file not be written.
    """
    recipe = maps.reader.recipe
    image_HW3, labels_HW = _level_canvas(maps)
    height, width = labels_HW.shape
    written: list[WrittenCrop] = []
    for crop in crops_of(recipe.panorama.height, recipe.panorama.width, recipe.panorama.vertical_fov, views):
        view, file = crop.view, f"{name}/{crop.name}"
        pair = WrittenCrop(f"images/{file}.jpg", f"labels/{file}.png", view.yaw, view.pitch, view.horizontal_fov)
        sampler = PerspectiveSampler(view.height, view.width, view.horizontal_fov, view.yaw, view.pitch, 0,
                                     height, width, view.vertical_fov)  # fmt: skip
        labels_hw = np.where(sampler.inside_hw, labels_HW.reshape(-1)[sampler.nearest_hw], np.uint8(IGNORE))
        write_picture(out / pair.image, Image.fromarray(sampler.image(image_HW3)), quality=_QUALITY)
        own_notes = {**notes, PIXELS: pixels_digest(labels_hw)}
        write_labels(out / pair.label, labels_hw, recipe.classes, own_notes)
        written.append(pair)
    return written


def part_of(path: str, written: Sequence[WrittenCrop]) -> str:
    """What the table says of the crops of a panorama, named by its path, as JSON."""
    return json.dumps([{**dataclasses.asdict(crop), "panorama": path} for crop in written])


def write_table(out: Path, parts: Sequence[str]) -> None:
    """Write crops.csv from the parts of all panoramas.

    Raises:
        CacheError: it cannot be written.
    """
    rows = [row for part in parts for row in json.loads(part)]
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(out / TABLE, table.getvalue())


def _level_canvas(maps: CachedMaps) -> tuple[ImageArray, LabelArray]:
    """Picture and labels of the level sphere, at the working size or at the picture's own."""
    opened, config = maps.panorama, maps.reader.recipe.panorama
    if not maps.is_original:
        return opened.image_HW3, maps.level_labels(*opened.image_HW3.shape[:2])
    width = max(config.width, opened.placement.canvas_width // GRID * GRID)
    if width != config.width:
        opened = open_panorama(maps.reader.paths[maps.panorama_id], dataclasses.replace(config, width=width))
    image_HW3 = level_image(opened.image_HW3, opened.placement)
    return image_HW3, maps.level_labels(*image_HW3.shape[:2])
