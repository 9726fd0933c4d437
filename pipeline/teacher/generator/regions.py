"""From low-resolution logits to masks: each is upsampled where it can be foreground, and nowhere else.

SAM resizes its mask logits twice (`Sam.postprocess_masks`): to the padded square that the encoder saw, then, without
the padding, to the image. Both steps give convex combinations of the logits, so a pixel whose logits all lie below a
threshold lies below it too: the rows and columns around the others are all that stability, mask and box need.

Legend: K masks, h w low resolution, H W image, S side of the encoder's square. A span is (start, stop), ends exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.teacher.generator.interpolation import Axis, Resize, Span, resize
from pipeline.teacher.masks import Bitmap, tight

Size = tuple[int, int]

ROUNDING = 1e-5
"""Relative slack for where to look: weights whose float32 sum is not quite 1 can lift a value over a threshold."""


class Thresholds(NamedTuple):
    """What a logit must exceed."""

    mask: float
    """Foreground."""
    offset: float
    """Shift of that for the stability score."""

    @property
    def lowest(self) -> float:
        """Below this nothing is counted anywhere."""
        lowest = self.mask - abs(self.offset)
        return lowest - ROUNDING * abs(lowest)


class Region(NamedTuple):
    """One mask in the frame of the image (or crop) that was upsampled to."""

    number: int
    """Which of the K masks."""
    box: tuple[int, int, int, int]
    """Tight (y0, x0, y1, x1), ends exclusive; zeros for an empty mask."""
    bitmap: Bitmap
    """The mask inside its box."""
    stability: np.float32
    """Area above the raised threshold over area above the lowered one; NaN where both are empty."""


Pixels = tuple[Bitmap, ...] | Tensor
"""What masks look like: bitmaps inside their boxes, or low-resolution logits that these can be drawn from."""


class Measured(NamedTuple):
    """The masks of a chunk that are stable enough, in their order."""

    numbers_M: npt.NDArray[np.int64]
    """Which of the K masks each is."""
    boxes_M4: npt.NDArray[np.int32]
    """Tight (y0, x0, y1, x1), ends exclusive; zeros for an empty mask."""
    stability_M: npt.NDArray[np.float32]
    """Area above the raised threshold over area above the lowered one; NaN where both are empty."""
    pixels: Pixels
    """What the masks look like; whatever measured them can draw it."""


class Measuring(Protocol):
    """From logits to masks for one size of image; the choice of a few comes before their pixels."""

    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, least_stability: float) -> Measured:
        """Stability and boxes.

        Args:
            logits_Khw: float32.
            thresholds: foreground, and its shift.
            least_stability: masks below it are dropped; 0 keeps all.
        """
        ...

    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """Bitmaps inside their boxes, of masks that were measured here."""
        ...


class _Way(NamedTuple):
    """What has to be read for a part of the image, along one axis."""

    low: Span
    square: Span
    image: Span


@dataclass(frozen=True, eq=False)
class Upsampling:
    """Both resizes of `Sam.postprocess_masks` for one size of image, mask by mask, as suits a CPU."""

    to_square: Resize
    """h w -> S S."""
    to_image: Resize
    """The square without its padding -> H W."""
    is_exact: bool
    """Parts equal torch's; otherwise everything is upsampled by torch."""

    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, least_stability: float) -> Measured:
        """See `Measuring`; the bitmaps come at once, while the values are in the CPU's caches."""
        regions = list(self.regions(logits_Khw.cpu(), thresholds, least_stability))
        return Measured(
            np.array([region.number for region in regions], np.int64),
            np.array([region.box for region in regions], np.int32).reshape(-1, 4),
            np.array([region.stability for region in regions], np.float32),
            tuple(region.bitmap for region in regions),
        )

    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """See `Measuring`."""
        if isinstance(pixels, Tensor):
            raise TypeError("the masks were measured elsewhere")
        return pixels

    def regions(self, logits_Khw: Tensor, thresholds: Thresholds, least_stability: float) -> Iterator[Region]:
        """The masks that are stable enough, in their order.

        Args:
            logits_Khw: float32, on the CPU.
            thresholds: foreground, and its shift.
            least_stability: masks below it are dropped; 0 keeps all.
        """
        on_Khw = logits_Khw > thresholds.lowest
        rows_Kh, columns_Kw = on_Khw.any(2).numpy(), on_Khw.any(1).numpy()
        for index, logits_hw in enumerate(logits_Khw):
            values_HW, origin = self._values(logits_hw, _span(rows_Kh[index]), _span(columns_Kw[index]))
            stability = _stability(values_HW, thresholds)
            if least_stability <= 0 or stability >= np.float32(least_stability):
                (y0, x0, y1, x1), bitmap = tight(values_HW > np.float32(thresholds.mask))
                y, x = origin if bitmap.size else (0, 0)
                yield Region(index, (y + y0, x + x0, y + y1, x + x1), bitmap, stability)

    def _values(
        self, logits_hw: Tensor, rows: Span | None, columns: Span | None
    ) -> tuple[npt.NDArray[np.float32], Size]:
        """Upsampled logits where rows and columns of low resolution reach, and where in the image that is."""
        down = _way(rows, self.to_square.rows, self.to_image.rows)
        across = _way(columns, self.to_square.columns, self.to_image.columns)
        if down is None or across is None:
            return np.empty((0, 0), np.float32), (0, 0)
        if self.is_exact:
            return self._part(logits_hw, down, across).numpy(), (down.image[0], across.image[0])
        square_SS = self.to_square.whole(logits_hw)
        inside = square_SS[: self.to_image.rows.source, : self.to_image.columns.source]
        return self.to_image.whole(inside).numpy(), (0, 0)

    def _part(self, logits_hw: Tensor, down: _Way, across: _Way) -> Tensor:
        low = logits_hw[slice(*down.low), slice(*across.low)]
        square = self.to_square.part(low, (down.low[0], across.low[0]), down.square, across.square)
        if self.to_image.is_identity:
            return square
        return self.to_image.part(square, (down.square[0], across.square[0]), down.image, across.image)


def upsampling(low: Size, square: int, inside: Size, image: Size, channels: int) -> Upsampling:
    """The upsampling for one size of image.

    Args:
        low: h, w.
        square: S.
        inside: height and width of the square without its padding.
        image: H, W.
        channels: masks per prompt, which torch resizes as channels.
    """
    return _upsampling(low, square, inside, image, channels, torch.get_num_threads())


def squashed_upsampling(low: Size, image: Size, channels: int) -> Upsampling:
    """The upsampling of networks that see an image squashed into their square, without padding: h w -> H W at once.

    Args:
        low: h, w.
        image: H, W.
        channels: masks per prompt, which torch resizes as channels.
    """
    return _squashed_upsampling(low, image, channels, torch.get_num_threads())


@lru_cache(maxsize=16)
def _squashed_upsampling(low: Size, image: Size, channels: int, threads: int) -> Upsampling:
    unchanged, is_unchanged = resize(low, low, channels)
    to_image, is_exact = resize(low, image, channels)
    return Upsampling(unchanged, to_image, is_unchanged and is_exact)


@lru_cache(maxsize=16)
def _upsampling(low: Size, square: int, inside: Size, image: Size, channels: int, threads: int) -> Upsampling:
    """With another number of threads torch may round in another order."""
    to_square, is_square_exact = resize(low, (square, square), channels)
    to_image, is_image_exact = resize(inside, image, channels)
    return Upsampling(to_square, to_image, is_square_exact and is_image_exact)


def _way(low: Span | None, to_square: Axis, to_image: Axis) -> _Way | None:
    """What is read for the pixels that a span of low resolution reaches; None if that is only padding."""
    if low is None:
        return None
    start, stop = to_square.reached(low)
    stop = min(stop, to_image.source)
    if start >= stop:
        return None
    image = to_image.reached((start, stop))
    if image[0] >= image[1]:  # shrinking, the image looks at no pixel of the span
        return None
    square = to_image.needed(image)
    return _Way(to_square.needed(square), square, image)


def _span(on: npt.ArrayLike) -> Span | None:
    """From the first to the last."""
    where = np.flatnonzero(on)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else None


def stability_score(above: npt.ArrayLike, below: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Pixels above the raised threshold over pixels above the lowered one, as stock divides; NaN for an empty mask."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(above, below, dtype=np.float32)


def _stability(values_HW: npt.NDArray[np.float32], thresholds: Thresholds) -> np.float32:
    above = np.count_nonzero(values_HW > np.float32(thresholds.mask + thresholds.offset))
    below = np.count_nonzero(values_HW > np.float32(thresholds.mask - thresholds.offset))
    return np.float32(stability_score(above, below))
