"""From low-resolution logits to masks on an accelerator: many masks at once, and bitmaps only of those that survive.

The values are torch's: the two interpolations of `Sam.postprocess_masks` are called with the same number of channels.
Most masks are small, and where both interpolations scale by powers of two (windows whose longer side is one), positions
and weights are exact and the same everywhere: the interpolation of a tile then equals that tile of the interpolation,
except near the tile's edges. So each mask is cut out as a square tile, with a margin around what can be foreground (all
values there lie below every threshold, see `regions`), in one of a few sizes, and tiles of one size are processed
together. Whether tiles are exact on a device is tested once per size; where they are not, the tile is the whole frame.

The host waits for the device twice: to learn where masks are, and their measurements. It sends data right after the
first wait, when no other work is queued that a copy would wait for.

Legend: K masks, B masks of a batch, M masks to draw, h w low resolution, H W image, S side of the encoder's square, n
rows or columns. Tiles are measured in cells of low resolution. A span is (start, stop), ends exclusive, zeros if empty.
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

from pipeline.accelerator import AdaptiveBatches, out_of_memory
from pipeline.teacher.generator.regions import MeasuredMasks, Pixels, Size, Thresholds, stability_score
from pipeline.teacher.masks import Bitmap

_TILE_DIVISORS = (8, 4, 2)
"""A tile has an eighth, a quarter or a half of the frame's side, the smallest that holds the mask, or is the frame."""
_MARGIN = 2
"""Cells around what can be foreground; each interpolation reaches one cell further at most."""
Result = TypeVar("Result")
_Integers = npt.NDArray[np.int64]


class Sizes(NamedTuple):
    """Sizes before, between and after the two interpolations."""

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


@dataclass(frozen=True, eq=False)
class _Batch:
    """Masks with tiles of one size."""

    side: int
    """Side of their tiles, cells; h for the whole frame."""
    places_B3: _Integers
    """Index of each mask among the K, row and column of its tile's first cell."""
    on_device_B3: Tensor
    """The same on the device."""

    @property
    def members_B(self) -> _Integers:
        """Which of the K masks."""
        return self.places_B3[:, 0]

    def __getitem__(self, chunk: slice) -> _Batch:
        return _Batch(self.side, self.places_B3[chunk], self.on_device_B3[chunk])


@dataclass(frozen=True, eq=False)
class BatchedUpsampling:
    """A `regions.MaskUpsampler`: both interpolations of `Sam.postprocess_masks`, many masks at a time."""

    sizes: Sizes
    """Of logits, square and image."""
    batches: AdaptiveBatches
    """Splits the work by the number of pixels that are upsampled at a time."""

    @torch.no_grad()
    def measure(self, logits_Khw: Tensor, thresholds: Thresholds, min_stability: float) -> MeasuredMasks:
        """See `MaskUpsampler`; logits stay where they are."""
        device, masks = logits_Khw.device, len(logits_Khw)
        found_K6 = torch.empty(masks, 6, dtype=torch.int64, device=device)
        corners_K2, lengths_K2 = np.empty((masks, 2), np.int64), np.empty((masks, 2), np.int64)

        def measure_tiles(batch: _Batch, values_BHW: Tensor) -> Tensor:
            values_BHW = self._hide_padding(values_BHW, batch)
            return torch.cat((_areas_above(values_BHW, thresholds), _extents(values_BHW > thresholds.mask)), 1)

        for batch, found_B6 in self._map_tiles(logits_Khw, thresholds, measure_tiles):
            found_K6[batch.on_device_B3[:, 0]] = found_B6
            corners_K2[batch.members_B] = batch.places_B3[:, 1:] * self.sizes.factor
            lengths_K2[batch.members_B] = tile_sizes(self.sizes, batch.side).image
        known_K6 = found_K6.cpu().numpy()
        stability_K = stability_score(known_K6[:, 0], known_K6[:, 1])
        indices_M = np.flatnonzero((stability_K >= np.float32(min_stability)) | (min_stability <= 0))
        return MeasuredMasks(
            indices_M,
            _boxes_from_extents(known_K6[:, 2:], lengths_K2, corners_K2)[indices_M].astype(np.int32),
            stability_K[indices_M],
            logits_Khw[torch.from_numpy(indices_M).to(device)],
        )

    @torch.no_grad()
    def draw(self, pixels: Pixels, boxes_M4: npt.NDArray[np.int32], thresholds: Thresholds) -> tuple[Bitmap, ...]:
        """See `MaskUpsampler`; of each mask, only what its box holds leaves the device."""
        if not isinstance(pixels, Tensor):
            raise TypeError("the masks were measured by another upsampler")
        boxes_on_device_M4 = torch.from_numpy(boxes_M4).to(pixels.device)

        def draw_tiles(batch: _Batch, values_BHW: Tensor) -> npt.NDArray[np.bool_]:
            boxes_B4 = boxes_on_device_M4[batch.on_device_B3[:, 0]]
            inside_BHW = _inside_boxes(boxes_B4, self._tile_corners(batch), values_BHW)
            # Flat, or a GPU would store three indices of each pixel.
            return (values_BHW > thresholds.mask).flatten().masked_select(inside_BHW.flatten()).cpu().numpy()

        bitmaps = [np.empty((0, 0), np.bool_)] * len(boxes_M4)
        for batch, flat in self._map_tiles(pixels, thresholds, draw_tiles):
            for member, bitmap in zip(batch.members_B, _split_bitmaps(flat, boxes_M4[batch.members_B]), strict=True):
                bitmaps[member] = bitmap
        return tuple(bitmaps)

    def _map_tiles(
        self, logits_Khw: Tensor, thresholds: Thresholds, work: Callable[[_Batch, Tensor], Result]
    ) -> Iterator[tuple[_Batch, Result]]:
        """Each batch of masks with the result of `work` for their upsampled tiles [B, side, side]."""
        for same_size in self._split_into_tiles(logits_Khw, thresholds):
            sizes = tile_sizes(self.sizes, same_size.side)

            def upsample_and_work(
                chunk: slice, same_size: _Batch = same_size, sizes: Sizes = sizes
            ) -> tuple[_Batch, Result]:
                batch = same_size[chunk]
                return batch, work(batch, upsample(_cut_tiles(logits_Khw, batch), sizes))

            yield from self.batches.map(len(same_size.members_B), upsample_and_work, _upsampled_pixels(sizes))

    def _split_into_tiles(self, logits_Khw: Tensor, thresholds: Thresholds) -> list[_Batch]:
        """All masks, each in the smallest tile that holds what can be foreground and the margin."""
        frame = self.sizes.low[0]
        try:
            sides = np.array((*tile_sides(self.sizes, logits_Khw.device), frame))
        except torch.OutOfMemoryError as error:  # it tries whole masks
            raise out_of_memory("mask") from error
        extents_K4 = _extents(logits_Khw > thresholds.lowest).cpu().numpy()
        starts_K2, stops_K2 = np.split(_boxes_from_extents(extents_K4, np.array(self.sizes.low)), 2, axis=1)
        choice_K = np.searchsorted(sides[:-1], (stops_K2 - starts_K2).max(1) + 2 * _MARGIN)
        origins_K2 = np.clip(starts_K2 - _MARGIN, 0, frame - sides[choice_K, None])
        order_K = np.argsort(choice_K, kind="stable")
        places_K3 = np.column_stack((order_K, origins_K2[order_K]))
        cuts = np.searchsorted(choice_K[order_K], np.arange(1, len(sides)))
        on_device = torch.from_numpy(places_K3).to(logits_Khw.device).tensor_split(cuts.tolist())
        return [_Batch(*own) for own in zip(sides.tolist(), np.split(places_K3, cuts), on_device, strict=True)]

    def _tile_corners(self, batch: _Batch) -> Tensor:
        """Row and column [B, 2] of the tiles' first pixel in the image; zeros for the frame."""
        return batch.on_device_B3[:, 1:] * self.sizes.factor

    def _hide_padding(self, values_BHW: Tensor, batch: _Batch) -> Tensor:
        """The values, -inf where a tile reaches beyond the image, into its padding."""
        if batch.side == self.sizes.low[0] or self.sizes.image[0] == self.sizes.image[1]:
            return values_BHW
        corners_B2, (height, width) = self._tile_corners(batch), self.sizes.image
        rows, columns = (torch.arange(side, device=values_BHW.device) for side in values_BHW.shape[1:])
        beyond_BH, beyond_BW = rows >= height - corners_B2[:, :1], columns >= width - corners_B2[:, 1:]
        return values_BHW.masked_fill_(beyond_BH[:, :, None] | beyond_BW[:, None], -torch.inf)


def upsample(logits_Khw: Tensor, sizes: Sizes) -> Tensor:
    """`Sam.postprocess_masks` of at least one mask, [K, H, W]; an interpolation that changes nothing is skipped."""
    missing = -len(logits_Khw) % sizes.channels
    prompts = functional.pad(logits_Khw, (0, 0, 0, 0, 0, missing)).unflatten(0, (-1, sizes.channels))
    values = functional.interpolate(prompts, (sizes.square, sizes.square), mode="bilinear", align_corners=False)
    values = values[..., : sizes.inside[0], : sizes.inside[1]]
    if sizes.inside != sizes.image:
        values = functional.interpolate(values, sizes.image, mode="bilinear", align_corners=False)
    return values.flatten(0, 1)[: len(logits_Khw)]


def tile_sizes(sizes: Sizes, side: int) -> Sizes:
    """The sizes for a tile of `side` by `side` cells."""
    frame = sizes.low[0]
    if side == frame:
        return sizes
    square, image = side * sizes.square // frame, side * sizes.factor
    return Sizes((side, side), square, (square, square), (image, image), sizes.channels)


@lru_cache(maxsize=64)
def tile_sides(sizes: Sizes, device: torch.device) -> tuple[int, ...]:
    """Sides of tiles smaller than the frame, ascending; none where tiles are not exact."""
    frame, size = sizes.low[0], sizes.low[0] * sizes.factor
    are_alike = [inside * size for inside in sizes.inside] == [pixels * sizes.square for pixels in sizes.image]
    is_even = sizes.low == (frame, frame) and are_alike and frame % max(_TILE_DIVISORS) == 0
    if not is_even or not all(_is_power_of_two_larger(frame, side) for side in (sizes.square, size)):
        return ()
    sides = tuple(frame // divisor for divisor in _TILE_DIVISORS)
    return sides if all(_is_exact(sizes, side, device) for side in sides) else ()


def _is_power_of_two_larger(source: int, target: int) -> bool:
    """Whether the target is the source, or twice that, or four times ..."""
    factor, rest = divmod(target, source)
    return rest == 0 and factor & (factor - 1) == 0


def _is_exact(sizes: Sizes, side: int, device: torch.device) -> bool:
    """Whether a tile equals the whole bit for bit inside its margin, tested on random logits where the image ends."""
    frame, factor = sizes.low[0], sizes.factor
    margin = _MARGIN * factor
    noise = np.random.default_rng(0).normal(0, 8, (sizes.channels, *sizes.low)).astype(np.float32)
    logits_Khw = torch.from_numpy(noise).to(device)
    y, x = (min(max(pixels // factor - side // 2, 0), frame - side) for pixels in sizes.image)
    cut_Khw = logits_Khw[:, y : y + side, x : x + side].contiguous()
    whole = upsample(logits_Khw, sizes)[:, y * factor : (y + side) * factor, x * factor : (x + side) * factor]
    own = upsample(cut_Khw, tile_sizes(sizes, side))[:, : whole.shape[1], : whole.shape[2]]
    rows, columns = (slice(margin * (start > 0), side * factor - margin * (start + side < frame)) for start in (y, x))
    return torch.equal(own[:, rows, columns], whole[:, rows, columns])


def _upsampled_pixels(sizes: Sizes) -> int:
    """Pixels of one mask while it is upsampled."""
    (rows, columns), second = sizes.image, sizes.inside != sizes.image
    return sizes.square**2 + (rows * columns if second else 0)


def _cut_tiles(logits_Khw: Tensor, batch: _Batch) -> Tensor:
    """The tiles [B, side, side] of a batch; whole frames as they are."""
    if batch.side == logits_Khw.shape[1]:
        return logits_Khw[batch.on_device_B3[:, 0]]
    steps = torch.arange(batch.side, device=logits_Khw.device)
    members_B, rows_B, columns_B = batch.on_device_B3.T[..., None, None]
    return logits_Khw[members_B, rows_B + steps[:, None], columns_B + steps]


def _extents(on_BHW: Tensor) -> Tensor:
    """How far set pixels extend from the top, bottom, left and right border [B, 4]; zeros where none is set."""
    reach: list[Tensor] = []
    for on_Bn in (on_BHW.any(2), on_BHW.any(1)):
        places_n = torch.arange(1, on_Bn.shape[1] + 1, device=on_Bn.device)
        reach.append((on_Bn[:, None] * torch.stack((places_n, places_n.flip(0)))).amax(2))
    return torch.cat(reach, 1)


def _boxes_from_extents(extents_B4: _Integers, lengths: _Integers, corners: _Integers | int = 0) -> _Integers:
    """Tight boxes (y0, x0, y1, x1) [B, 4] from `_extents` in tiles of these sides; zeros for empty masks."""
    boxes_B4 = np.concatenate((corners + lengths - extents_B4[:, 1::2], corners + extents_B4[:, ::2]), 1)
    return boxes_B4 * (extents_B4[:, :1] > 0)


def _areas_above(values_BHW: Tensor, thresholds: Thresholds) -> Tensor:
    """Pixels above the raised and above the lowered threshold [B, 2]."""
    shifts = (thresholds.offset, -thresholds.offset)
    return torch.stack([(values_BHW > thresholds.mask + shift).sum((1, 2)) for shift in shifts], 1)


def _inside_boxes(boxes_B4: Tensor, corners_B2: Tensor, values_BHW: Tensor) -> Tensor:
    """Which pixels of the tiles lie in the masks' boxes [B, side, side]."""
    y0, x0, y1, x1 = (boxes_B4 - corners_B2.repeat(1, 2)).T[..., None]
    rows, columns = (torch.arange(side, device=boxes_B4.device) for side in values_BHW.shape[1:])
    rows_BH, columns_BW = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    return rows_BH[:, :, None] & columns_BW[:, None]


def _split_bitmaps(flat: npt.NDArray[np.bool_], boxes_B4: npt.NDArray[np.int32]) -> Iterator[Bitmap]:
    """Bitmaps one after the other, with the sizes of their boxes."""
    sizes_B2 = boxes_B4[:, 2:] - boxes_B4[:, :2]
    ends = np.cumsum(sizes_B2.prod(1, dtype=np.int64))
    for (height, width), own in zip(sizes_B2.tolist(), np.split(flat, ends[:-1]), strict=True):
        yield own.reshape(height, width).copy()
