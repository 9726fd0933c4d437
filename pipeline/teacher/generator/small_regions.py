"""Removes small holes and islands from masks.

Components are labelled only inside a mask's box and a margin: what lies around counts as one component, too large to be
a hole. Where that or the choice of the largest island would be uncertain, the whole image is labelled.

Legend: h w a box with a margin, H W image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.teacher.generator.proposals import Proposals, non_max_suppression
from pipeline.teacher.masks import Bitmap, tight

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1), ends exclusive."""


class CleanedMask(NamedTuple):
    """A mask without small holes and islands."""

    box: Box
    """Tight; zeros for an empty mask."""
    bitmap: Bitmap
    """The mask inside its box."""
    changed: bool
    """Whether it had any."""


def remove_small_regions(found: Proposals, min_area: int, threshold: float) -> Proposals:
    """Cleaned masks without the duplicates that cleaning made; of duplicates, one that did not change stays.

    Args:
        found: the masks of an image.
        min_area: holes and islands of fewer pixels are removed.
        threshold: IoU of boxes above which a mask is a duplicate.
    """
    masks = found.masks
    cleaned = [
        clean_mask((y0, x0, y1, x1), bitmap, (masks.height, masks.width), min_area)
        for (y0, x0, y1, x1), bitmap in zip(masks.boxes_M4.tolist(), masks.bitmaps, strict=True)
    ]
    boxes_M4 = np.array([mask.box for mask in cleaned], np.int32).reshape(-1, 4)
    changed_M = np.array([mask.changed for mask in cleaned], np.bool_)
    masks = replace(masks, boxes_M4=boxes_M4, bitmaps=tuple(mask.bitmap for mask in cleaned))
    keep = non_max_suppression(boxes_M4, ~changed_M, threshold)
    # As in stock, an empty mask is compared as a box at the image's origin, but keeps that of its crop.
    masks = replace(masks, boxes_M4=np.where(changed_M[:, None], boxes_M4, found.masks.boxes_M4))
    return replace(found, masks=masks).filter(keep)


def clean_mask(box: Box, bitmap: Bitmap, size: tuple[int, int], min_area: int) -> CleanedMask:
    """Fill holes and drop islands of fewer than `min_area` pixels, 8-connected; the largest island stays.

    Args:
        box: of the mask.
        bitmap: the mask inside it.
        size: H, W.
        min_area: pixels.
    """
    outer = _with_margin(box, size)
    if bitmap.size and all(strip >= min_area for strip in _strips(outer, size)):
        cleaned = _clean(_pasted(box, bitmap, outer), outer, size, min_area)
        if cleaned is not None:
            return cleaned
    whole = (0, 0, *size)
    cleaned = _clean(_pasted(box, bitmap, whole), whole, size, min_area)
    assert cleaned is not None  # on the whole image nothing is uncertain
    return cleaned


def _clean(mask_hw: Bitmap, outer: Box, size: tuple[int, int], min_area: int) -> CleanedMask | None:
    """None if the largest island cannot be determined from a part of the image."""
    filled_hw, has_filled = _fill_holes(mask_hw, _open_sides(outer, size), min_area)
    without_islands = _remove_islands(filled_hw, min_area, is_whole=not any(_open_sides(outer, size)))
    if without_islands is None:
        return None
    cleaned_hw, has_removed = without_islands
    (y0, x0, y1, x1), bitmap = tight(cleaned_hw)
    y, x = outer[:2] if bitmap.size else (0, 0)
    return CleanedMask((y + y0, x + x0, y + y1, x + x1), bitmap, has_filled or has_removed)


def _fill_holes(mask_hw: Bitmap, open_sides: tuple[bool, bool, bool, bool], min_area: int) -> tuple[Bitmap, bool]:
    labels_hw, areas = _components(~mask_hw)
    is_hole = areas < min_area
    edges = (labels_hw[0], labels_hw[:, 0], labels_hw[-1], labels_hw[:, -1])
    for edge, is_open in zip(edges, open_sides, strict=True):
        if is_open:  # these continue outside
            is_hole[edge] = False
    is_hole[0] = False  # the mask itself
    return (mask_hw | is_hole[labels_hw], True) if is_hole.any() else (mask_hw, False)


def _remove_islands(mask_hw: Bitmap, min_area: int, is_whole: bool) -> tuple[Bitmap, bool] | None:
    labels_hw, areas = _components(mask_hw)
    stays = areas >= min_area
    stays[0] = False  # the background
    if stays[1:].all():
        return mask_hw, False
    if not stays.any():
        largest = areas[1:].max()
        if not is_whole and np.count_nonzero(areas[1:] == largest) > 1:
            return None  # which of them comes first depends on where the labelling starts
        stays[1 + int(np.argmax(areas[1:]))] = True
    return stays[labels_hw], True


def _components(mask_hw: Bitmap) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Labels (0 outside the mask) and the pixels of each label."""
    _, labels_hw, statistics, _ = cv2.connectedComponentsWithStats(mask_hw.astype(np.uint8), connectivity=8)
    return np.asarray(labels_hw, np.int32), statistics[:, cv2.CC_STAT_AREA].astype(np.int32)


def _with_margin(box: Box, size: tuple[int, int]) -> Box:
    y0, x0, y1, x1 = box
    return max(y0 - 1, 0), max(x0 - 1, 0), min(y1 + 1, size[0]), min(x1 + 1, size[1])


def _open_sides(outer: Box, size: tuple[int, int]) -> tuple[bool, bool, bool, bool]:
    """Top, left, bottom, right: where the image continues."""
    return outer[0] > 0, outer[1] > 0, outer[2] < size[0], outer[3] < size[1]


def _strips(outer: Box, size: tuple[int, int]) -> list[int]:
    """Pixels of the image beyond each open side."""
    (y0, x0, y1, x1), (height, width) = outer, size
    areas = (y0 * width, x0 * height, (height - y1) * width, (width - x1) * height)
    return [area for area, is_open in zip(areas, _open_sides(outer, size), strict=True) if is_open]


def _pasted(box: Box, bitmap: Bitmap, outer: Box) -> Bitmap:
    mask_hw = np.zeros((outer[2] - outer[0], outer[3] - outer[1]), np.bool_)
    y, x = box[0] - outer[0], box[1] - outer[1]
    mask_hw[y : y + bitmap.shape[0], x : x + bitmap.shape[1]] = bitmap
    return mask_hw
