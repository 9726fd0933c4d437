"""A map to look at: labels over a picture of any size, with a legend inside it.

Legend: H W picture, 3 = RGB.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.evaluate.overlay import paint_labels

LegendEntry = tuple[str, tuple[int, int, int]]
LEAST_SHARE = 5e-4
"""Share of the picture's pixels from which on a class is in the legend."""
_STRIP = 128
"""Rows that are painted at once: of 12000 columns they take 20 MB as floating point."""
_FONT_SHARE, _SMALLEST_FONT = 1 / 44, 9
"""Font size as a share of the picture's height; smaller ones cannot be read, and no legend is drawn."""
_LARGEST_SHARE = 0.6
"""Share of the picture's width that the legend may take."""
_SEEN_BELOW = 50.0
"""Degrees below the horizon at which the legend ends: further down, viewers of panoramas show it bent."""
_BACKGROUND, _INK = (18, 20, 24), (240, 240, 240)
_OPACITY = 0.78


def paint_map(image_HW3: ImageArray, labels_HW: LabelArray, labels: LabelSet, vertical_fov: float) -> ImageArray:
    """Labels over a picture of their size, as `paint_labels` paints them, and a legend of the classes that occur.

    Args:
        image_HW3: the picture.
        labels_HW: class ids, IGNORE where nothing was seen.
        labels: their names and colours.
        vertical_fov: degrees that the picture's rows span around the horizon; says where the legend is seen straight.
    """
    painted_HW3 = np.empty_like(image_HW3)
    height = len(labels_HW)
    for top in range(0, height, _STRIP):
        end = min(top + _STRIP, height)
        more = slice(top, min(end + 1, height))  # boundaries are drawn by the row below
        painted_HW3[top:end] = paint_labels(image_HW3[more], labels_HW[more], labels)[: end - top]
    _draw_legend(painted_HW3, legend_entries(labels_HW, labels), vertical_fov)
    return painted_HW3


def legend_entries(labels_HW: LabelArray, labels: LabelSet) -> list[LegendEntry]:
    """Name and RGB colour (0..255) of each class that covers at least LEAST_SHARE of a map, in the order of ids; last
    "not seen" in black, where any pixel is IGNORE."""
    counts = np.sum([np.bincount(row, minlength=256) for row in labels_HW], axis=0)  # all at once: 8 bytes a pixel
    shown = [class_id for class_id in range(len(labels)) if counts[class_id] >= LEAST_SHARE * labels_HW.size]
    entries = [(labels.names[class_id], labels.palette[class_id]) for class_id in shown]
    return [*entries, ("not seen", (0, 0, 0))] if counts[IGNORE] else entries


def _draw_legend(picture_HW3: ImageArray, entries: list[LegendEntry], vertical_fov: float) -> None:
    """Lay a legend over the picture, in place, where it fits."""
    height, width = picture_HW3.shape[:2]
    size = round(height * _FONT_SHARE * min(2.0, 180 / vertical_fov))
    if not entries or size < _SMALLEST_FONT:
        return
    box = _legend(entries, size, round(_LARGEST_SHARE * width))
    bottom = min(height, round(height * (0.5 + min(_SEEN_BELOW, 0.48 * vertical_fov) / vertical_fov)))
    left, top = round(0.01 * width), bottom - box.height
    if top < 0 or left + box.width > width:
        return
    place = picture_HW3[top:bottom, left : left + box.width]
    laid_HW3 = np.asarray(box)
    opacity_HW1 = np.where((laid_HW3 == _BACKGROUND).all(axis=-1, keepdims=True), _OPACITY, 1.0)  # colours stay true
    place[:] = np.rint(laid_HW3 * opacity_HW1 + place * (1 - opacity_HW1)).astype(np.uint8)


def _legend(entries: list[LegendEntry], size: int, widest: int) -> Image.Image:
    """Colour and name of the entries, in columns of equal width."""
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))
    row, chip, gap = round(1.45 * size), size, round(0.5 * size)
    column = chip + 3 * gap + max(round(font.getlength(name)) for name, _ in entries)
    columns = max(1, min(3, len(entries), (widest - gap) // column))
    rows = -(-len(entries) // columns)
    picture = Image.new("RGB", (gap + columns * column, rows * row + gap), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for number, (name, colour) in enumerate(entries):
        left, top = gap + number // rows * column, gap // 2 + number % rows * row
        draw.rectangle((left, top + (row - chip) // 2, left + chip, top + (row + chip) // 2), fill=colour, outline=_INK)
        draw.text((left + chip + gap, top + row // 2), name, _INK, font, anchor="lm")
    return picture
