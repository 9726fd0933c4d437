"""SAM's masks on the panorama. Those of perspective views are found, stored and voted on in the view's own pixels,
where a mask at a pole is as compact as any other; they are projected to the panorama's pixels where that is needed.

A mask on its view's footprint is a mask of that window of the panorama: its box may pass the seam, and one that holds a
pole fills the last row. Every pixel of the panorama takes the view's nearest pixel.

Legend: H W panorama, h w view, f g footprint of a view (rows, columns), M masks of one view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray
from pipeline.ensemble.regions import NO_MASK
from pipeline.panorama.edges import label_edges
from pipeline.panorama.views import View
from pipeline.panorama.windows import Window
from pipeline.teacher.masks import MaskSet, tight

_BITS = 64
_Planes = npt.NDArray[np.uint64]
"""Up to 64 masks in one array, a bit each: projecting that costs as much as projecting one."""


def on_footprint(view: View, masks: MaskSet) -> MaskSet:
    """A view's masks on its footprint, f x g, in their order and with their scores; one that no pixel of the panorama
    takes is empty."""
    if isinstance(view, Window):
        return masks
    planes = [view.project_nearest(plane_hw) for plane_hw in bit_planes(masks)]
    cut_out = [tight(_mask_of(planes, m)) for m in range(len(masks))]
    return replace(
        masks,
        boxes_M4=np.array([box for box, _ in cut_out], np.int32).reshape(-1, 4),
        bitmaps=tuple(bitmap for _, bitmap in cut_out),
        height=view.footprint.height,
        width=view.footprint.width,
    )


def edges_on_footprint(view: View, masks: MaskSet, panorama_width: int) -> BoolArray:
    """B_SAM of a view on its footprint, [f, g]: the edges of all masks, both sides.

    A mask that the view's border cuts off has no edge there. They are edges between pixels of the panorama: those of
    the view would be as wide as a pole's pixels are stretched.
    """
    footprint = view.footprint
    goes_round = footprint.width == panorama_width and not view.is_closed(panorama_width)
    edges_fg = np.zeros((footprint.height, footprint.width), np.bool_)
    for plane_hw in bit_planes(masks):
        edges_fg |= label_edges(view.project_nearest(plane_hw), wrap=goes_round)
    seen_fg = view.project_nearest(np.ones((view.height, view.width), np.bool_))
    return edges_fg & seen_fg & ~label_edges(seen_fg, wrap=goes_round)


def inside_panorama(view: View, masks: MaskSet) -> MaskSet:
    """A view's masks without what lies beyond the rows of a band, which is black in the view; masks of which most lies
    there are left out."""
    covered_hw = view.covered_hw
    if covered_hw.all():
        return masks
    clipped = [bitmap & covered_hw[box] for box, bitmap in masks.placed()]
    left_M = np.array([np.count_nonzero(bitmap) for bitmap in clipped], np.int64)
    keep_M = 2 * left_M > masks.areas()
    boxes = [_tight_in(box, own) for box, own, kept in zip(masks.boxes_M4, clipped, keep_M, strict=True) if kept]
    return replace(
        masks.filter(keep_M),
        boxes_M4=np.array([box for box, _ in boxes], np.int32).reshape(-1, 4),
        bitmaps=tuple(bitmap for _, bitmap in boxes),
    )


def mask_map(height: int, width: int, views: Sequence[View], masks: Sequence[MaskSet]) -> npt.NDArray[np.int32]:
    """The masks of all views as one map [H, W] of their numbers, NO_MASK where there is none; small masks lie on top.

    Args:
        height: rows of the panorama, pixels.
        width: columns of the panorama, pixels.
        views: of the panorama.
        masks: one set per view, in the views' order.
    """
    placed = [
        (view.footprint, box, bitmap)
        for view, own in zip(views, masks, strict=True)
        for box, bitmap in on_footprint(view, own).placed()
    ]
    placed.sort(key=lambda mask: -int(np.count_nonzero(mask[2])))
    numbers_HW = np.full((height, width), NO_MASK, np.int32)
    for number, (footprint, (rows, columns), bitmap) in enumerate(placed):
        y, x = np.nonzero(bitmap)
        numbers_HW[footprint.row + rows.start + y, (footprint.column + columns.start + x) % width] = number
    return numbers_HW


def bit_planes(masks: MaskSet) -> list[_Planes]:
    """The masks as bits of arrays [h, w]: mask m is bit m % 64 of array m // 64."""
    planes = [np.zeros((masks.height, masks.width), np.uint64) for _ in range(-(-len(masks) // _BITS))]
    for m, (box, bitmap) in enumerate(masks.placed()):
        planes[m // _BITS][box] |= bitmap.astype(np.uint64) << np.uint64(m % _BITS)
    return planes


def _mask_of(planes: Sequence[_Planes], m: int) -> BoolArray:
    return (planes[m // _BITS] & np.uint64(1 << m % _BITS)) != 0


def _tight_in(box: npt.NDArray[np.int32], bitmap: BoolArray) -> tuple[tuple[int, int, int, int], BoolArray]:
    """The tight box, and the bitmap in it, of what is left of a mask in its old box."""
    (y0, x0, y1, x1), inner = tight(bitmap)
    top, left = int(box[0]), int(box[1])
    return (top + y0, left + x0, top + y1, left + x1), inner
