"""Specks and pinholes: small components of a mask, and of what is around it, change sides.

Counted on the whole image, but labelled only where the mask is. What lies around that counts as one piece that is too
large to be a hole; where this or the choice of the largest island would not be certain, the whole image is labelled.

Legend: h w a box with a margin, H W image.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.teacher.generator.proposals import Proposals, inclusive_boxes, survivors
from pipeline.teacher.masks import Bitmap, tight

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1), ends exclusive."""


class Mended(NamedTuple):
    """A mask without small regions."""

    box: Box
    """Tight; zeros for an empty mask."""
    bitmap: Bitmap
    """The mask inside its box."""
    changed: bool
    """Whether there were any."""


def without_small_regions(found: Proposals, min_area: int, threshold: float) -> Proposals:
    """Mended masks without the duplicates that mending made; masks that were sound stay before mended ones.

    Args:
        found: the masks of an image.
        min_area: holes and islands of fewer pixels go.
        threshold: IoU of boxes from which a mask is a duplicate.
    """
    masks = found.masks
    mended = [
        mend((y0, x0, y1, x1), bitmap, (masks.height, masks.width), min_area)
        for (y0, x0, y1, x1), bitmap in zip(masks.boxes_M4.tolist(), masks.bitmaps, strict=True)
    ]
    boxes_M4 = np.array([mask.box for mask in mended], np.int32).reshape(-1, 4)
    changed_M = np.array([mask.changed for mask in mended], np.bool_)
    masks = replace(masks, boxes_M4=boxes_M4, bitmaps=tuple(mask.bitmap for mask in mended))
    keep = survivors(inclusive_boxes(boxes_M4), ~changed_M, threshold)
    # As in stock, an empty mask is compared as a box at the image's origin, but keeps that of its crop.
    masks = replace(masks, boxes_M4=np.where(changed_M[:, None], boxes_M4, found.masks.boxes_M4))
    return replace(found, masks=masks).filter(keep)


def mend(box: Box, bitmap: Bitmap, size: tuple[int, int], min_area: int) -> Mended:
    """Fill holes and drop islands of fewer than `min_area` pixels, 8-connected; the largest island stays.

    Args:
        box: of the mask.
        bitmap: the mask inside it.
        size: H, W.
        min_area: pixels.
    """
    outer = _with_margin(box, size)
    if bitmap.size and all(strip >= min_area for strip in _strips(outer, size)):
        mended = _mend(_pasted(box, bitmap, outer), outer, size, min_area)
        if mended is not None:
            return mended
    whole = (0, 0, *size)
    mended = _mend(_pasted(box, bitmap, whole), whole, size, min_area)
    assert mended is not None  # on the whole image nothing is uncertain
    return mended


def _mend(mask_hw: Bitmap, outer: Box, size: tuple[int, int], min_area: int) -> Mended | None:
    """None if the largest island cannot be told from a part of the image."""
    filled_hw, has_filled = _fill(mask_hw, _open_sides(outer, size), min_area)
    cleared = _clear(filled_hw, min_area, is_whole=not any(_open_sides(outer, size)))
    if cleared is None:
        return None
    cleared_hw, has_cleared = cleared
    (y0, x0, y1, x1), bitmap = tight(cleared_hw)
    y, x = outer[:2] if bitmap.size else (0, 0)
    return Mended((y + y0, x + x0, y + y1, x + x1), bitmap, has_filled or has_cleared)


def _fill(mask_hw: Bitmap, open_sides: tuple[bool, bool, bool, bool], min_area: int) -> tuple[Bitmap, bool]:
    labels_hw, areas = _components(~mask_hw)
    is_hole = areas < min_area
    edges = (labels_hw[0], labels_hw[:, 0], labels_hw[-1], labels_hw[:, -1])
    for edge, is_open in zip(edges, open_sides, strict=True):
        if is_open:  # these go on outside
            is_hole[edge] = False
    is_hole[0] = False  # the mask itself
    return (mask_hw | is_hole[labels_hw], True) if is_hole.any() else (mask_hw, False)


def _clear(mask_hw: Bitmap, min_area: int, is_whole: bool) -> tuple[Bitmap, bool] | None:
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
    """Top, left, bottom, right: where the image goes on."""
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
