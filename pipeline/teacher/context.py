"""A second pass of SAM over wider windows: large things are cut out where they are seen whole, small ones where they
are seen large (as WSI-SAM does with patches of two resolutions).

Legend: H W panorama, M masks of one window.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.arrays import ImageArray
from pipeline.panorama.windows import Window
from pipeline.teacher.mask_source import MaskSource
from pipeline.teacher.masks import MaskSet, joined


def masks_with_context(
    source: MaskSource, image_HW3: ImageArray, windows: Sequence[Window], large: float
) -> list[MaskSet]:
    """Masks of every window: small ones as they are found in it, large ones as they are found in the wider window.

    Args:
        source: finds the masks.
        image_HW3: RGB, uint8.
        windows: of the panorama.
        large: share of the window's area, in (0, 1], from which a mask is large.

    Raises:
        GoodSAMError: as `MaskSource.many`.
    """
    wider = [wider_window(window, *image_HW3.shape[:2]) for window in windows]
    narrow_masks = source.many([window.cut_image(image_HW3) for window in windows])
    wide_masks = source.many([window.cut_image(image_HW3) for window in wider])
    return [
        with_large_masks(masks, part_of(found, window.row - wide.row, window.column - wide.column, window), large)
        for window, masks, wide, found in zip(windows, narrow_masks, wider, wide_masks, strict=True)
    ]


def wider_window(window: Window, height: int, width: int) -> Window:
    """The window of twice the size around another, moved to lie inside the panorama's rows; it wraps over the seam."""
    h, w = min(2 * window.height, height), min(2 * window.width, width)
    row = min(max(window.row - (h - window.height) // 2, 0), height - h)
    return Window(row, window.column - (w - window.width) // 2, h, w)


def part_of(masks: MaskSet, row: int, column: int, window: Window) -> MaskSet:
    """The masks of a wider window inside a narrow one, which begins `row`, `column` pixels from its corner."""
    dense_Mhw = masks.dense()[:, row : row + window.height, column : column + window.width]
    return MaskSet.from_dense(dense_Mhw, masks.predicted_iou_M, masks.stability_M)


def with_large_masks(narrow: MaskSet, wide: MaskSet, large: float) -> MaskSet:
    """The large masks of one set for a window, and the small ones of another; scores stay theirs."""
    limit = large * narrow.height * narrow.width
    return joined(wide.filter(wide.areas() >= limit), narrow.filter(narrow.areas() < limit))
