"""From low-resolution logits to masks on an accelerator: many masks at once, and bitmaps only of those that stay.

The values are torch's: the two interpolations of `Sam.postprocess_masks` are called, with as many channels as there.
Most masks are small, and where both of them scale by powers of two, positions and weights are exact and the same
everywhere: the interpolations of a part are then a part of the interpolations, but for what its edges reach. So each
mask is cut out with a margin around what can be foreground (there all lies below every threshold, see `regions`), at
one of a few sizes, and masks of one size go together. Whether parts are exact on a device is not believed but tried,
once per size.

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


class _Batch(NamedTuple):
    """Masks that are cut out at one size."""

    side: int
    """Of their parts; h for the frame."""
    members_B: Tensor
    """Which of the K masks."""
    origins_B2: Tensor
    """Row and column of the first cell."""

    def piece(self, of: slice) -> _Batch:
        """Some of them."""
        return self._replace(members_B=self.members_B[of], origins_B2=self.origins_B2[of])


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
        stability_K = logits_Khw.new_empty(len(logits_Khw))
        boxes_K4 = torch.empty(len(logits_Khw), 4, dtype=torch.int32, device=logits_Khw.device)

        def look(batch: _Batch, values_BHW: Tensor) -> tuple[Tensor, Tensor]:
            boxes_B4 = _boxes(values_BHW > thresholds.mask, self._corners(batch))
            return _stability(values_BHW, thresholds), boxes_B4

        for members_B, (stability_B, boxes_B4) in self._looked_at(logits_Khw, thresholds, look):
            stability_K[members_B] = stability_B
            boxes_K4[members_B] = boxes_B4
        numbers_M = torch.arange(len(logits_Khw), device=logits_Khw.device)
        if least_stability > 0:
            numbers_M = numbers_M[stability_K >= least_stability]
        return Measured(
            numbers_M.cpu().numpy(),
            boxes_K4[numbers_M].cpu().numpy(),
            stability_K[numbers_M].cpu().numpy(),
            logits_Khw[numbers_M],
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
        for members_B, flat in self._looked_at(pixels, thresholds, look):
            members = members_B.tolist()
            for member, bitmap in zip(members, _unpacked(flat, boxes_M4[members]), strict=True):
                bitmaps[member] = bitmap
        return tuple(bitmaps)

    def _looked_at(
        self, logits_Khw: Tensor, thresholds: Thresholds, look: Callable[[_Batch, Tensor], Result]
    ) -> Iterator[tuple[Tensor, Result]]:
        """What `look` sees in the upsampled parts of all masks, and which masks these are."""
        for batch in self._batches(logits_Khw, thresholds):

            def work(of: slice, batch: _Batch = batch) -> tuple[Tensor, Result]:
                some = batch.piece(of)
                return some.members_B, look(some, two_steps(_cut_out(logits_Khw, some), part(self.sizes, some.side)))

            yield from self.pieces.of(len(batch.members_B), work, _pixels(part(self.sizes, batch.side)))

    def _batches(self, logits_Khw: Tensor, thresholds: Thresholds) -> Iterator[_Batch]:
        """All masks, each in the smallest part that holds what can be foreground and the margin."""
        device, frame = logits_Khw.device, self.sizes.low[0]
        sides = (*part_sides(self.sizes, device), frame)
        on_Khw = logits_Khw > thresholds.lowest
        spans_K22 = torch.stack((_spans(on_Khw.any(2)), _spans(on_Khw.any(1))), 1)
        needed_K = (spans_K22[..., 1] - spans_K22[..., 0]).amax(1) + 2 * _MARGIN
        choice_K = torch.bucketize(needed_K, torch.tensor(sides[:-1], dtype=torch.int64, device=device)).cpu()
        for number, side in enumerate(sides):
            members_B = (choice_K == number).nonzero()[:, 0].to(device)
            if len(members_B):
                yield _Batch(side, members_B, (spans_K22[members_B, :, 0] - _MARGIN).clamp(0, frame - side))

    def _corners(self, batch: _Batch) -> Tensor:
        """Row and column [B, 2] of the parts' first pixel in the image; zeros for the frame."""
        return batch.origins_B2 * (self.sizes.image[0] // self.sizes.low[0])


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
    square, image = side * sizes.square // frame, side * sizes.image[0] // frame
    return Sizes((side, side), square, (square, square), (image, image), sizes.channels)


@lru_cache(maxsize=64)
def part_sides(sizes: Sizes, device: torch.device) -> tuple[int, ...]:
    """Sides of parts smaller than the frame, ascending; none where parts are not exact."""
    (height, width), (rows, columns) = sizes.low, sizes.image
    is_square = height == width and rows == columns and sizes.inside == (sizes.square, sizes.square)
    if not is_square or height % max(_PARTS) or not all(_doubles(height, side) for side in (sizes.square, rows)):
        return ()
    sides = tuple(height // divisor for divisor in _PARTS)
    return sides if all(_is_exact(sizes, side, device) for side in sides) else ()


def _doubles(source: int, target: int) -> bool:
    """Whether the target is the source, or twice that, or four times ..."""
    factor, rest = divmod(target, source)
    return rest == 0 and factor & (factor - 1) == 0


def _is_exact(sizes: Sizes, side: int, device: torch.device) -> bool:
    """Whether a part has the bits of the whole inside its margin, tried on random logits."""
    frame, factor = sizes.low[0], sizes.image[0] // sizes.low[0]
    margin = _MARGIN * factor
    noise = np.random.default_rng(0).normal(0, 8, (sizes.channels, *sizes.low)).astype(np.float32)
    logits_Khw = torch.from_numpy(noise).to(device)
    start = (frame - side) // 2
    cut_Khw = logits_Khw[:, start : start + side, start : start + side].contiguous()
    own, whole = two_steps(cut_Khw, part(sizes, side)), two_steps(logits_Khw, sizes)
    inner = slice(start * factor + margin, (start + side) * factor - margin)
    return torch.equal(own[:, margin:-margin, margin:-margin], whole[:, inner, inner])


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
