"""Pictures: labels, masks and reliability over the panorama, and a comparison of them side by side.

Everything takes arrays and returns uint8 RGB arrays. Columns wrap: an edge at the seam is drawn like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from pipeline.arrays import BoolArray, ImageArray, LabelArray
from pipeline.class_tables import colour_table
from pipeline.classes import IGNORE, LabelSet, distinct_colour
from pipeline.ensemble.regions import NO_MASK
from pipeline.evaluate.metrics import resize_nearest
from pipeline.panorama.edges import label_edges

# H W picture, 3 = RGB, C classes.

Colour = tuple[int, int, int]


def colourise(labels_HW: LabelArray, labels: LabelSet) -> ImageArray:
    """Labels in the colours of their set [H, W, 3]; ids that are no class are black."""
    return colour_table(labels)[labels_HW]


def blend(image_HW3: ImageArray, colours_HW3: ImageArray, opacity: float | npt.NDArray[np.floating]) -> ImageArray:
    """Lay colours over an image; opacity 0..1, one for all or [H, W]."""
    alpha = np.asarray(opacity, np.float32)
    alpha = alpha[..., None] if alpha.ndim else alpha
    mixed = image_HW3 + (colours_HW3.astype(np.float32) - image_HW3) * alpha
    return np.rint(mixed).astype(np.uint8)


def paint_labels(image_HW3: ImageArray, labels_HW: LabelArray, labels: LabelSet) -> ImageArray:
    """Labels over the image, with edges between them; the image is dark where there is no class."""
    painted = blend(_grey(image_HW3), colourise(labels_HW, labels), np.where(labels_HW != IGNORE, 0.62, 0.8))
    return _draw_edges(painted, labels_HW, 0.45)


def paint_masks(image_HW3: ImageArray, masks_HW: npt.NDArray[np.integer]) -> ImageArray:
    """Class-agnostic masks in distinct colours over a grey image; NO_MASK stays grey."""
    painted = blend(_grey(image_HW3), mask_colours(masks_HW), np.where(masks_HW == NO_MASK, 0.0, 0.6))
    return _draw_edges(painted, masks_HW, 0.8)


def _draw_edges(image_HW3: ImageArray, ids_HW: npt.NDArray[np.integer], opacity: float) -> ImageArray:
    """The image with edges between ids as thin white lines."""
    return blend(
        image_HW3, np.full_like(image_HW3, 255), label_edges(ids_HW, wrap=True, both_sides=False) * np.float32(opacity)
    )


def mask_colours(masks_HW: npt.NDArray[np.integer]) -> ImageArray:
    """A colour per id [H, W, 3], the same in every picture."""
    ids, inverse = np.unique(masks_HW, return_inverse=True)
    table = np.array([distinct_colour(id_) for id_ in ids.tolist()], np.uint8)
    return table[inverse.reshape(masks_HW.shape)]


def hatch_unreliable(image_HW3: ImageArray, reliable_HW: BoolArray) -> ImageArray:
    """Hatch unreliable pixels (M = 0) with pairs of a light and a dark stripe, which are seen on every colour and
    without colour vision; between them the colours stay, for a darker one may be another class's."""
    height, width = reliable_HW.shape
    place = (np.arange(height)[:, None] + np.arange(width)) % 12
    striped = image_HW3
    for first, grey in ((0, 255), (2, 0)):
        is_striped = (place >= first) & (place < first + 2) & ~reliable_HW
        striped = blend(striped, np.full_like(image_HW3, grey), np.where(is_striped, 0.7, 0.0))
    return striped


def _grey(image_HW3: ImageArray) -> ImageArray:
    """Luminance as RGB, so that colours blended over it keep their hue."""
    luminance = image_HW3 @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(np.rint(luminance).astype(np.uint8)[..., None], 3, axis=2)


@dataclass(frozen=True)
class Panel:
    """One picture of the comparison."""

    caption: str
    """Its title ("Student")."""
    image_HW3: ImageArray
    """Any size; it is scaled to the panel's width."""
    note: str = ""
    """A remark in small letters ("71.2 % mIoU")."""


BACKGROUND: Colour = (17, 19, 24)
BAND: Colour = (30, 34, 43)
INK: Colour = (236, 239, 244)
MUTED: Colour = (148, 156, 170)
ACCENT: Colour = (94, 176, 255)


PANEL_WIDTH = 1024
"""Width of one panel of the comparison, pixels."""
MARGIN = 24
"""Around and between panels, pixels."""
_HEADER, _CAPTION = 76, 34
"""Heights of the band at the top and of a caption, pixels."""


def comparison(panels: Sequence[Panel], labels: LabelSet, title: str, panel_width: int = PANEL_WIDTH) -> ImageArray:
    """Panels with captions under a header band, and the legend of the classes at the foot.

    Args:
        panels: at least one; reading order is rows first. Bands stand in one column, full spheres in two, so that the
            picture fits a screen.
        labels: classes of the legend.
        title: what is shown (the panorama's name).
        panel_width: pixels.

    Returns:
        [H, W, 3] uint8.
    """
    pictures = [_fit(panel.image_HW3, panel_width) for panel in panels]
    columns = min(_columns_for(pictures[0]), len(panels))
    width = columns * panel_width + (columns + 1) * MARGIN
    row_height = _CAPTION + max(picture.height for picture in pictures) + MARGIN
    body = -(-len(panels) // columns) * row_height
    legend = _legend(labels, width - 2 * MARGIN)
    canvas = Image.new("RGB", (width, _HEADER + body + legend.height + 2 * MARGIN), BACKGROUND)
    _draw_header(canvas, title)
    for i, (panel, picture) in enumerate(zip(panels, pictures, strict=True)):
        left = MARGIN + (i % columns) * (panel_width + MARGIN)
        top = _HEADER + MARGIN // 2 + (i // columns) * row_height
        _draw_panel(canvas, panel, picture, left, top)
    canvas.paste(legend, (MARGIN, _HEADER + body + MARGIN))
    return np.asarray(canvas)


def _fit(image_HW3: ImageArray, width: int) -> Image.Image:
    picture = Image.fromarray(image_HW3)
    height = max(1, round(picture.height * width / picture.width))
    return picture if picture.width == width else picture.resize((width, height), Image.Resampling.LANCZOS)


def _columns_for(picture: Image.Image) -> int:
    return 1 if picture.width >= 3 * picture.height else 2


def _font(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


def _draw_header(canvas: Image.Image, title: str) -> None:
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, _HEADER - 1), fill=BAND)
    draw.rectangle((0, _HEADER - 3, canvas.width, _HEADER - 1), fill=ACCENT)
    draw.text((MARGIN, _HEADER // 2), title, INK, _font(30), anchor="lm")


def _draw_panel(canvas: Image.Image, panel: Panel, picture: Image.Image, left: int, top: int) -> None:
    draw = ImageDraw.Draw(canvas)
    baseline = top + _CAPTION - 10
    draw.text((left, baseline), panel.caption, INK, _font(21), anchor="ls")
    draw.text((left + picture.width, baseline), panel.note, MUTED, _font(16), anchor="rs")
    canvas.paste(picture, (left, top + _CAPTION))


def _legend(labels: LabelSet, width: int) -> Image.Image:
    """Colour and name of every class, and of what is ignored, in as many rows as the width needs."""
    names, colours = (*labels.names, "ignored"), (*labels.palette, (0, 0, 0))
    font, chip, gap, row = _font(17), 18, 26, 32
    places, x, y = list[tuple[int, int]](), 0, 0
    for name in names:
        length = chip + 8 + round(font.getlength(name))
        x, y = (x, y) if x + length <= width else (0, y + row)
        places.append((x, y))
        x += length + gap
    picture = Image.new("RGB", (width, y + row), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for (left, top), name, colour in zip(places, names, colours, strict=True):
        draw.rounded_rectangle((left, top + 4, left + chip, top + 4 + chip), 4, fill=colour, outline=MUTED)
        draw.text((left + chip + 8, top + 4 + chip // 2), name, INK, font, anchor="lm")
    return picture


@dataclass(frozen=True)
class Scene:
    """Inputs of the panels of one panorama; None for no panel. Arrays may have different sizes."""

    image_HW3: ImageArray
    """The panorama, RGB."""
    assistant_HW: LabelArray | None = None
    """Labels of S_TA^w."""
    masks_HW: npt.NDArray[np.integer] | None = None
    """Map of mask ids, NO_MASK where there is none."""
    ensemble_HW: LabelArray | None = None
    """E."""
    reliable_HW: BoolArray | None = None
    """M; what is False is hatched."""
    student_HW: LabelArray | None = None
    """Labels of the student."""
    truth_HW: LabelArray | None = None
    """True labels; with them, notes state the share of correct pixels of each prediction."""
    labels_by: str = "people"
    """Who made the true labels: people, or a network, in which case notes say "agree" instead of "right"."""


_LABELS_CAPTION = {"people": "Truth", "network": "Labels of a network"}


def scene_panels(scene: Scene, labels: LabelSet, width: int = PANEL_WIDTH) -> list[Panel]:
    """Panorama, assistant, masks, ensemble (unreliable hatched), student, truth: those that are there."""
    small = np.asarray(_fit(scene.image_HW3, width))
    panels = [Panel("Panorama", small, f"{scene.image_HW3.shape[1]} x {scene.image_HW3.shape[0]}")]
    if scene.assistant_HW is not None:
        note = _match(scene, scene.assistant_HW)
        panels.append(Panel("Assistant", _labelled(small, scene.assistant_HW, labels), note))
    if scene.masks_HW is not None:
        masks = resize_nearest(scene.masks_HW, *small.shape[:2])
        panels.append(Panel("SAM masks", paint_masks(small, masks), f"{np.unique(masks[masks != NO_MASK]).size} masks"))
    if scene.ensemble_HW is not None:
        note = _match(scene, scene.ensemble_HW)
        panels.append(_ensemble_panel(small, scene.ensemble_HW, scene.reliable_HW, labels, note))
    if scene.student_HW is not None:
        panels.append(Panel("Student", _labelled(small, scene.student_HW, labels), _match(scene, scene.student_HW)))
    if scene.truth_HW is not None:
        panels.append(Panel(_LABELS_CAPTION[scene.labels_by], _labelled(small, scene.truth_HW, labels)))
    return panels


def _labelled(image_HW3: ImageArray, ids_HW: LabelArray, labels: LabelSet) -> ImageArray:
    return paint_labels(image_HW3, resize_nearest(ids_HW, *image_HW3.shape[:2]), labels)


def _ensemble_panel(
    image_HW3: ImageArray, ensemble_HW: LabelArray, reliable_HW: BoolArray | None, labels: LabelSet, note: str
) -> Panel:
    painted = _labelled(image_HW3, ensemble_HW, labels)
    if reliable_HW is None:
        return Panel("Ensemble", painted, note)
    small = resize_nearest(reliable_HW, *image_HW3.shape[:2])
    hatched = f"hatched: unreliable, {100 * (1 - small.mean()):.0f} %"
    return Panel("Ensemble", hatch_unreliable(painted, small), f"{note}, {hatched}" if note else hatched)


def _match(scene: Scene, prediction_HW: LabelArray) -> str:
    """A note on the share of labelled pixels that the prediction has right; empty without labels."""
    if scene.truth_HW is None:
        return ""
    known = scene.truth_HW != IGNORE
    right = (resize_nearest(prediction_HW, *scene.truth_HW.shape) == scene.truth_HW)[known]
    verb = "right" if scene.labels_by == "people" else "agree"
    return f"{100 * right.mean():.0f} % of pixels {verb}" if right.size else ""
