"""From low-resolution logits to masks: each is upsampled only where it can be foreground.

SAM resizes its mask logits twice (`Sam.postprocess_masks`): to the padded square that the encoder saw, then, without
the padding, to the image. Both interpolate, so a pixel whose neighbouring logits all lie below a threshold lies below
it too: stability, mask and box need only the rows and columns around the other logits.

Legend: K masks, h w low resolution, H W image, S side of the encoder's square. A span is (start, stop), ends exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
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
"""Relative slack: weights whose float32 sum is not quite 1 can lift a value over a threshold."""


class Thresholds(NamedTuple):
    """Thresholds for logits."""

    mask: float
    """A mask's pixels lie above it."""
    offset: float
    """How far it is raised and lowered for the stability score."""

    @property
    def lowest(self) -> float:
        """Logits at or below it count nowhere."""
        lowest = self.mask - abs(self.offset)
        return lowest - ROUNDING * abs(lowest)


Pixels = tuple[Bitmap, ...] | Tensor
"""The pixels of masks: bitmaps inside their boxes, or low-resolution logits from which these can be drawn."""


class MeasuredMasks(NamedTuple):
    """Masks that are stable enough, as a struct of arrays: what the filters look at, and pixels to draw later."""

    indices_M: npt.NDArray[np.int64]
    """Which of the K masks each is."""
    boxes_M4: npt.NDArray[np.int32]
    """Tight (y0, x0, y1, x1), ends exclusive; zeros for an empty mask."""
    stability_M: npt.NDArray[np.float32]
    """Area above the raised threshold over area above the lowered one; NaN where both are empty."""
    pixels: Pixels
    """Only the upsampler that measured the masks can draw them."""

    def filter(self, chosen_M: npt.NDArray[np.int64]) -> MeasuredMasks:
        """A selection by position, in the order wanted."""
        if isinstance(self.pixels, Tensor):
            pixels = self.pixels[torch.from_numpy(chosen_M).to(self.pixels.device)]
        else:
            pixels = tuple(self.pixels[position] for position in chosen_M)
        return MeasuredMasks(self.indices_M[chosen_M], self.boxes_M4[chosen_M], self.stability_M[chosen_M], pixels)


def concatenate_measured(chunks: Sequence[MeasuredMasks], sizes: Sequence[int]) -> MeasuredMasks:
    """The masks of at least one chunk, one chunk after the other.

    Args:
        chunks: measured by one upsampler.
        sizes: K of each chunk; indices count on from chunk to chunk.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    logits = [chunk.pixels for chunk in chunks if isinstance(chunk.pixels, Tensor)]
    bitmaps = (bitmap for chunk in chunks if not isinstance(chunk.pixels, Tensor) for bitmap in chunk.pixels)
    return MeasuredMasks(
        np.concatenate([chunk.indices_M + start for chunk, start in zip(chunks, starts, strict=True)]),
        np.concatenate([chunk.boxes_M4 for chunk in chunks]),
        np.concatenate([chunk.stability_M for chunk in chunks]),
        torch.cat(logits) if logits else tuple(bitmaps),
    )


class MaskUpsampler(Protocol):
    """Turns logits into masks for one size of image: measures all of them, draws those that survive the filters."""

    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, min_stability: float) -> MeasuredMasks:
        """Stability and boxes.

        Args:
            logits_Khw: float32.
            thresholds: of foreground and stability.
            min_stability: masks below it are dropped; 0 keeps all.
        """
        ...

    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """Bitmaps inside their boxes, of masks that this upsampler measured."""
        ...


class AxisSpans(NamedTuple):
    """Along one axis: the pixels of the image that a mask can reach, and those that they are interpolated from."""

    low: Span
    square: Span
    image: Span


@dataclass(frozen=True, eq=False)
class Upsampling:
    """A `MaskUpsampler` for CPUs: both interpolations of `Sam.postprocess_masks`, mask by mask."""

    to_square: Resize
    """h w -> S S."""
    to_image: Resize
    """The square without its padding -> H W."""
    is_exact: bool
    """Whether tiles equal torch's bit for bit; otherwise torch upsamples the whole frame."""

    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, min_stability: float) -> MeasuredMasks:
        """See `MaskUpsampler`; bitmaps are cut out at once, while the values are in the CPU's caches."""
        logits_Khw = logits_Khw.cpu()
        on_Khw = logits_Khw > thresholds.lowest
        rows_Kh, columns_Kw = on_Khw.any(2).numpy(), on_Khw.any(1).numpy()
        indices, boxes, scores, bitmaps = list[int](), list[list[int]](), list[np.float32](), list[Bitmap]()
        for index, logits_hw in enumerate(logits_Khw):
            values_HW, (y, x) = self._values(logits_hw, _span(rows_Kh[index]), _span(columns_Kw[index]))
            stability = _stability(values_HW, thresholds)
            if min_stability <= 0 or stability >= np.float32(min_stability):
                (y0, x0, y1, x1), bitmap = tight(values_HW > np.float32(thresholds.mask))
                indices.append(index)
                boxes.append([y + y0, x + x0, y + y1, x + x1] if bitmap.size else [0] * 4)
                scores.append(stability)
                bitmaps.append(bitmap)
        boxes_M4 = np.array(boxes, np.int32).reshape(-1, 4)
        return MeasuredMasks(np.array(indices, np.int64), boxes_M4, np.array(scores, np.float32), tuple(bitmaps))

    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """See `MaskUpsampler`."""
        if isinstance(pixels, Tensor):
            raise TypeError("the masks were measured by another upsampler")
        return pixels

    def _values(
        self, logits_hw: Tensor, rows: Span | None, columns: Span | None
    ) -> tuple[npt.NDArray[np.float32], Size]:
        """Upsampled logits that rows and columns of low resolution reach, and the (row, column) of the first."""
        row_spans = _axis_spans(rows, self.to_square.rows, self.to_image.rows)
        column_spans = _axis_spans(columns, self.to_square.columns, self.to_image.columns)
        if row_spans is None or column_spans is None:
            return np.empty((0, 0), np.float32), (0, 0)
        if self.is_exact:
            return self._part(logits_hw, row_spans, column_spans).numpy(), (row_spans.image[0], column_spans.image[0])
        square_SS = self.to_square.whole(logits_hw)
        inside = square_SS[: self.to_image.rows.source_size, : self.to_image.columns.source_size]
        return self.to_image.whole(inside).numpy(), (0, 0)

    def _part(self, logits_hw: Tensor, rows: AxisSpans, columns: AxisSpans) -> Tensor:
        low = logits_hw[slice(*rows.low), slice(*columns.low)]
        square = self.to_square.tile(low, (rows.low[0], columns.low[0]), rows.square, columns.square)
        if self.to_image.is_identity:
            return square
        return self.to_image.tile(square, (rows.square[0], columns.square[0]), rows.image, columns.image)


def upsampling(low: Size, square: int, inside: Size, image: Size, channels: int) -> Upsampling:
    """The upsampling for one size of image.

    Args:
        low: h, w.
        square: S.
        inside: height and width of the square without its padding.
        image: H, W.
        channels: masks per prompt, which torch resizes as channels.
    """
    return _upsampling(low, (square, square), inside, image, channels, torch.get_num_threads())


def stretched_upsampling(low: Size, image: Size, channels: int) -> Upsampling:
    """The upsampling of networks whose square the image is stretched to, without padding: h w -> H W at once.

    Args:
        low: h, w.
        image: H, W.
        channels: masks per prompt, which torch resizes as channels.
    """
    return _upsampling(low, low, low, image, channels, torch.get_num_threads())


@lru_cache(maxsize=16)
def _upsampling(low: Size, square: Size, inside: Size, image: Size, channels: int, threads: int) -> Upsampling:
    """Cached per number of threads, as torch may round in another order with another number."""
    to_square, is_square_exact = resize(low, square, channels)
    to_image, is_image_exact = resize(inside, image, channels)
    return Upsampling(to_square, to_image, is_square_exact and is_image_exact)


def _axis_spans(low: Span | None, to_square: Axis, to_image: Axis) -> AxisSpans | None:
    """Spans for the pixels that a span of low resolution reaches; None if it reaches only padding."""
    if low is None:
        return None
    start, stop = to_square.targets_of(low)
    stop = min(stop, to_image.source_size)
    if start >= stop:
        return None
    image = to_image.targets_of((start, stop))
    if image[0] >= image[1]:  # shrinking, the image looks at no pixel of the span
        return None
    square = to_image.sources_of(image)
    return AxisSpans(to_square.sources_of(square), square, image)


def _span(on: npt.ArrayLike) -> Span | None:
    """From the first set element to the last; None if none is set."""
    where = np.flatnonzero(on)
    return (int(where[0]), int(where[-1]) + 1) if len(where) else None


def stability_score(above: npt.ArrayLike, below: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Pixels above the raised threshold over pixels above the lowered one, as the stock generator divides; NaN for an
    empty mask."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(above, below, dtype=np.float32)


def _stability(values_HW: npt.NDArray[np.float32], thresholds: Thresholds) -> np.float32:
    above = np.count_nonzero(values_HW > np.float32(thresholds.mask + thresholds.offset))
    below = np.count_nonzero(values_HW > np.float32(thresholds.mask - thresholds.offset))
    return np.float32(stability_score(above, below))
