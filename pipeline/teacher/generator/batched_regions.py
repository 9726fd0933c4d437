"""From low-resolution logits to masks on an accelerator: many masks at once, and bitmaps only of those that stay.

The values are torch's: the two interpolations of `Sam.postprocess_masks` are called, with as many channels as there.
Most masks are small, and where both of them scale by powers of two (windows whose longer side is one), positions and
weights are exact and the same everywhere: the interpolations of a part are then a part of the interpolations, but for
what its edges reach. So each mask is cut out with a margin around what can be foreground (there all lies below every
threshold, see `regions`), at one of a few sizes, and masks of one size go together. Whether parts are exact on a device
is not believed but tried, once per size; where they are not, a part is the whole frame.

The host waits for the device twice: to learn where masks are, and what they measure. What it sends it sends right after
the first time, when there is no work that a copy would wait for.

Legend: K masks, B masks of a batch, M masks to draw, h w low resolution, H W image, S side of the encoder's square, n
rows or columns. Parts are in cells of low resolution. A span is (start, stop), ends exclusive, zeros for an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.accelerator import Pieces
from pipeline.teacher.generator.regions import Measured, Pixels, Size, Thresholds
from pipeline.teacher.masks import Bitmap

_PARTS = (8, 4, 2)
"""A part has an eighth, a quarter or a half of the frame's side, whichever holds the mask first, or is the frame."""
_MARGIN = 2
"""Cells: each step reaches over one at most."""
Result = TypeVar("Result")


class Sizes(NamedTuple):
    """What both resizes lead from and to."""

    low: Size
    """h, w."""
    square: int
    """S."""
    inside: Size
    """Height and width of the square without its padding."""
    image: Size
    """H, W."""
    channels: int
    """Masks per prompt, which torch resizes as channels."""

    @property
    def factor(self) -> int:
        """Pixels of the image per cell, where that is whole."""
        return max(self.image) // max(self.low)


class _Batch(NamedTuple):
    """Masks that are cut out at one size."""

    side: int
    """Of their parts; h for the frame."""
    members: list[int]
    """Which of the K masks."""
    members_B: Tensor
    """The same on the device."""
    origins_B2: Tensor
    """Row and column of the first cell, there."""

    def piece(self, of: slice) -> _Batch:
        """Some of them."""
        return _Batch(self.side, self.members[of], self.members_B[of], self.origins_B2[of])


@dataclass(frozen=True, eq=False)
class BatchedUpsampling:
    """Both resizes of `Sam.postprocess_masks` for one size of image, many masks at a time; see `regions.Measuring`."""

    sizes: Sizes
    """From where to where."""
    pieces: Pieces
    """How many pixels are upsampled at a time."""

    @torch.no_grad()
    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, least_stability: float) -> Measured:
        """See `Measuring`; logits stay where they are."""
        found_K5 = logits_Khw.new_empty(len(logits_Khw), 5)  # stability and box: as floats both are exact

        def look(batch: _Batch, values_BHW: Tensor) -> Tensor:
            values_BHW = self._in_image(values_BHW, batch)
            boxes_B4 = _boxes(values_BHW > thresholds.mask, self._corners(batch))
            return torch.cat((_stability(values_BHW, thresholds)[:, None], boxes_B4), 1)

        for batch, found_B5 in self._looked_at(logits_Khw, thresholds, look):
            found_K5[batch.members_B] = found_B5
        known_K5 = found_K5.cpu().numpy()
        numbers_M = np.flatnonzero((known_K5[:, 0] >= np.float32(least_stability)) | (least_stability <= 0))
        return Measured(
            numbers_M,
            known_K5[numbers_M, 1:].astype(np.int32),
            known_K5[numbers_M, 0],
            logits_Khw[torch.from_numpy(numbers_M).to(logits_Khw.device)],
        )

    @torch.no_grad()
    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """See `Measuring`; of each mask, only what its box holds leaves the device."""
        if not isinstance(pixels, Tensor):
            raise TypeError("the masks were measured elsewhere")
        boxes_on_device_M4 = torch.from_numpy(boxes_M4).to(pixels.device)

        def look(batch: _Batch, values_BHW: Tensor) -> npt.NDArray[np.bool_]:
            inside_BHW = _inside(boxes_on_device_M4[batch.members_B], self._corners(batch), values_BHW)
            return (values_BHW > thresholds.mask).masked_select(inside_BHW).cpu().numpy()

        bitmaps = [np.empty((0, 0), np.bool_)] * len(boxes_M4)
        for batch, flat in self._looked_at(pixels, thresholds, look):
            for member, bitmap in zip(batch.members, _unpacked(flat, boxes_M4[batch.members]), strict=True):
                bitmaps[member] = bitmap
        return tuple(bitmaps)

    def _looked_at(
        self, logits_Khw: Tensor, thresholds: Thresholds, look: Callable[[_Batch, Tensor], Result]
    ) -> Iterator[tuple[_Batch, Result]]:
        """What `look` sees in the upsampled parts of all masks, and which masks these are."""
        for batch in self._batches(logits_Khw, thresholds):

            def work(of: slice, batch: _Batch = batch) -> tuple[_Batch, Result]:
                some = batch.piece(of)
                return some, look(some, two_steps(_cut_out(logits_Khw, some), part(self.sizes, some.side)))

            yield from self.pieces.of(len(batch.members), work, _pixels(part(self.sizes, batch.side)))

    def _batches(self, logits_Khw: Tensor, thresholds: Thresholds) -> list[_Batch]:
        """All masks, each in the smallest part that holds what can be foreground and the margin."""
        device, frame = logits_Khw.device, self.sizes.low[0]
        sides = (*part_sides(self.sizes, device), frame)
        on_Khw = logits_Khw > thresholds.lowest
        spans_K22 = torch.stack((_spans(on_Khw.any(2)), _spans(on_Khw.any(1))), 1).cpu()
        needed_K = (spans_K22[..., 1] - spans_K22[..., 0]).amax(1) + 2 * _MARGIN
        choice_K = torch.bucketize(needed_K, torch.tensor(sides[:-1], dtype=torch.int64))
        batches: list[_Batch] = []
        for number, side in enumerate(sides):
            members_B = (choice_K == number).nonzero()[:, 0]
            origins_B2 = (spans_K22[members_B, :, 0] - _MARGIN).clamp(0, frame - side)
            batches.append(_Batch(side, members_B.tolist(), members_B.to(device), origins_B2.to(device)))
        return batches

    def _corners(self, batch: _Batch) -> Tensor:
        """Row and column [B, 2] of the parts' first pixel in the image; zeros for the frame."""
        return batch.origins_B2 * self.sizes.factor

    def _in_image(self, values_BHW: Tensor, batch: _Batch) -> Tensor:
        """The values, but -inf where a part reaches beyond the image, into its padding."""
        if batch.side == self.sizes.low[0] or self.sizes.image[0] == self.sizes.image[1]:
            return values_BHW
        corners_B2, (height, width) = self._corners(batch), self.sizes.image
        rows, columns = (torch.arange(side, device=values_BHW.device) for side in values_BHW.shape[1:])
        beyond_BH, beyond_BW = rows >= height - corners_B2[:, :1], columns >= width - corners_B2[:, 1:]
        return values_BHW.masked_fill_(beyond_BH[:, :, None] | beyond_BW[:, None], -torch.inf)


def two_steps(logits_Khw: Tensor, sizes: Sizes) -> Tensor:
    """`Sam.postprocess_masks` of at least one mask: values [K, H, W]. A step that changes nothing is left out."""
    missing = -len(logits_Khw) % sizes.channels
    prompts = functional.pad(logits_Khw, (0, 0, 0, 0, 0, missing)).unflatten(0, (-1, sizes.channels))
    values = functional.interpolate(prompts, (sizes.square, sizes.square), mode="bilinear", align_corners=False)
    values = values[..., : sizes.inside[0], : sizes.inside[1]]
    if sizes.inside != sizes.image:
        values = functional.interpolate(values, sizes.image, mode="bilinear", align_corners=False)
    return values.flatten(0, 1)[: len(logits_Khw)]


def part(sizes: Sizes, side: int) -> Sizes:
    """The sizes of a part that has `side` by `side` cells."""
    frame = sizes.low[0]
    if side == frame:
        return sizes
    square, image = side * sizes.square // frame, side * sizes.factor
    return Sizes((side, side), square, (square, square), (image, image), sizes.channels)


@lru_cache(maxsize=64)
def part_sides(sizes: Sizes, device: torch.device) -> tuple[int, ...]:
    """Sides of parts smaller than the frame, ascending; none where parts are not exact."""
    frame, size = sizes.low[0], sizes.low[0] * sizes.factor
    are_alike = [inside * size for inside in sizes.inside] == [pixels * sizes.square for pixels in sizes.image]
    is_even = sizes.low == (frame, frame) and are_alike and frame % max(_PARTS) == 0
    if not is_even or not all(_doubles(frame, side) for side in (sizes.square, size)):
        return ()
    sides = tuple(frame // divisor for divisor in _PARTS)
    return sides if all(_is_exact(sizes, side, device) for side in sides) else ()


def _doubles(source: int, target: int) -> bool:
    """Whether the target is the source, or twice that, or four times ..."""
    factor, rest = divmod(target, source)
    return rest == 0 and factor & (factor - 1) == 0


def _is_exact(sizes: Sizes, side: int, device: torch.device) -> bool:
    """Whether a part has the bits of the whole inside its margin, tried on random logits where the image ends."""
    frame, factor = sizes.low[0], sizes.factor
    margin = _MARGIN * factor
    noise = np.random.default_rng(0).normal(0, 8, (sizes.channels, *sizes.low)).astype(np.float32)
    logits_Khw = torch.from_numpy(noise).to(device)
    y, x = (min(max(pixels // factor - side // 2, 0), frame - side) for pixels in sizes.image)
    cut_Khw = logits_Khw[:, y : y + side, x : x + side].contiguous()
    whole = two_steps(logits_Khw, sizes)[:, y * factor : (y + side) * factor, x * factor : (x + side) * factor]
    own = two_steps(cut_Khw, part(sizes, side))[:, : whole.shape[1], : whole.shape[2]]
    rows, columns = (slice(margin * (start > 0), side * factor - margin * (start + side < frame)) for start in (y, x))
    return torch.equal(own[:, rows, columns], whole[:, rows, columns])


def _pixels(sizes: Sizes) -> int:
    """Of a mask while it is upsampled."""
    (rows, columns), second = sizes.image, sizes.inside != sizes.image
    return sizes.square**2 + (rows * columns if second else 0)


def _cut_out(logits_Khw: Tensor, batch: _Batch) -> Tensor:
    """The parts [B, side, side] of a batch; whole frames as they are."""
    if batch.side == logits_Khw.shape[1]:
        return logits_Khw[batch.members_B]
    steps = torch.arange(batch.side, device=logits_Khw.device)
    rows_Bn, columns_Bn = (batch.origins_B2[:, axis, None] + steps for axis in (0, 1))
    return logits_Khw[batch.members_B[:, None, None], rows_Bn[:, :, None], columns_Bn[:, None, :]]


def _spans(on_Kn: Tensor) -> Tensor:
    """From the first to the last that is on, [K, 2]."""
    places_n = torch.arange(on_Kn.shape[1], device=on_Kn.device)
    stop_K = (on_Kn * (places_n + 1)).amax(1)
    start_K = on_Kn.shape[1] - (on_Kn * (on_Kn.shape[1] - places_n)).amax(1)
    return torch.stack((start_K * (stop_K > 0), stop_K), 1)


def _boxes(mask_BHW: Tensor, corners_B2: Tensor) -> Tensor:
    """Tight boxes (y0, x0, y1, x1) in the image [B, 4], int32; zeros for an empty mask."""
    rows_B2, columns_B2 = _spans(mask_BHW.any(2)), _spans(mask_BHW.any(1))
    boxes_B22 = torch.stack((rows_B2, columns_B2), 2) + corners_B2[:, None]
    return (boxes_B22.flatten(1) * (rows_B2[:, 1:] > 0)).int()


def _stability(values_BHW: Tensor, thresholds: Thresholds) -> Tensor:
    """As the stock generator divides; NaN for an empty mask."""
    above, below = (
        (values_BHW > thresholds.mask + shift).sum((1, 2), dtype=torch.int32)
        for shift in (thresholds.offset, -thresholds.offset)
    )
    return above / below


def _inside(boxes_B4: Tensor, corners_B2: Tensor, values_BHW: Tensor) -> Tensor:
    """Which pixels of the parts lie in the masks' boxes."""
    y0, x0, y1, x1 = (boxes_B4 - corners_B2.repeat(1, 2)).T[..., None]
    rows, columns = (torch.arange(side, device=boxes_B4.device) for side in values_BHW.shape[1:])
    rows_BH, columns_BW = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    return rows_BH[:, :, None] & columns_BW[:, None]


def _unpacked(flat: npt.NDArray[np.bool_], boxes_B4: npt.NDArray[np.int32]) -> Iterator[Bitmap]:
    """Bitmaps one after the other, by the sizes of their boxes."""
    sizes_B2 = boxes_B4[:, 2:] - boxes_B4[:, :2]
    ends = np.cumsum(sizes_B2.prod(1, dtype=np.int64))
    for (height, width), own in zip(sizes_B2.tolist(), np.split(flat, ends[:-1]), strict=True):
        yield own.reshape(height, width).copy()
