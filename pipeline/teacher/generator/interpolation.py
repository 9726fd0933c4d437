"""Any tile of torch's bilinear interpolation of a mask, bit for bit, without computing the rest.

`torch.nn.functional.interpolate` can only give the whole target: its weights depend on a target pixel's distance from
the origin, in float32. Here the weights are computed once per axis, and a tile of the target is blended from them with
the roundings of torch's own kernels for three channels: there are two, chosen by the sizes and the number of threads.
Which one torch uses is tested once per size; where it is neither, `interpolate` itself is called.

Legend: h w source, H W target. A span is (start, stop), ends exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Span = tuple[int, int]

ABOVE, BELOW = 0, 1
"""The two sources of a target row."""
BLOCK_PIXELS = 1 << 15
"""Target pixels blended at once where each row has its own sources: nine float32 planes fit into a core's L2 cache.
Where rows share sources it is four times as much."""

_TEST_PIXELS = 256
"""Source pixels on which a kernel is tested, at least."""


class Kernel(Enum):
    """The order in which torch blends; each rounds differently."""

    CORNERS = "four corners at once; positions are fused multiply-adds"
    """With one thread, and for small targets."""
    LINES = "along the rows, then between them; positions are rounded twice"
    """With more threads."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The two sources of each target along one axis, and their weights."""

    source_size: int
    """Source pixels."""
    target_size: int
    """Target pixels."""
    first_source: npt.NDArray[np.int64]
    """The nearer source to the origin, per target."""
    second_source: npt.NDArray[np.int64]
    """The next one; the same at the end."""
    first_weight: Tensor
    """Its weight, float32 in [0, 1]."""
    second_weight: Tensor
    """1 minus that."""
    group_size: int
    """Targets that share their two sources, where all but half a group at either end come in such groups with the
    same weights in each (SAM's own factor of 4); 1 elsewhere."""

    @property
    def is_identity(self) -> bool:
        """Target equals source."""
        return self.source_size == self.target_size

    def targets_of(self, span: Span) -> Span:
        """The targets that are interpolated from any source of the span."""
        start, stop = span
        return int(np.searchsorted(self.second_source, start)), int(np.searchsorted(self.first_source, stop))

    def sources_of(self, span: Span) -> Span:
        """The sources from which the targets of a span are interpolated; the span must not be empty."""
        start, stop = span
        return int(self.first_source[start]), int(self.second_source[stop - 1]) + 1

    def blocks(self, span: Span, size: int) -> Iterator[tuple[slice, int]]:
        """A span of targets in blocks of about `size`, each with the size of its groups: how many targets in a row
        share their sources."""
        group_size, lead = self.group_size, self.group_size // 2
        start = lead + max(0, -((lead - span[0]) // group_size)) * group_size  # of the first whole group
        stop = min(lead + (span[1] - lead) // group_size * group_size, self.target_size - group_size + lead)
        if group_size == 1 or start >= stop:
            yield from _steps(span, size, 1)
            return
        yield from _steps((span[0], start), size, 1)
        yield from _steps((start, stop), 4 * size // group_size * group_size, group_size)
        yield from _steps((stop, span[1]), size, 1)

    def sources(self, block: slice, group_size: int, origin: int) -> tuple[slice | Tensor, slice | Tensor]:
        """The first and second sources of a block, one per group, counted from an origin."""
        if group_size == 1:
            first, second = self.first_source[block] - origin, self.second_source[block] - origin
            return torch.from_numpy(first), torch.from_numpy(second)
        start, stop = int(self.first_source[block.start]) - origin, int(self.second_source[block.stop - 1]) - origin
        return slice(start, stop), slice(start + 1, stop + 1)

    def weights(self, block: slice, group_size: int) -> tuple[Tensor, Tensor]:
        """Weights of the first and second sources [groups, group_size, 1]; one group if all are equal."""
        some = block if group_size == 1 else slice(block.start, block.start + group_size)
        return self.first_weight[some].view(-1, group_size, 1), self.second_weight[some].view(-1, group_size, 1)


@lru_cache(maxsize=64)
def axis(source: int, target: int, kernel: Kernel) -> Axis:
    """The axis of `align_corners=False`: target t lies at (t + 1/2) source / target - 1/2, clamped to the sources."""
    ratio = np.float32(source) / np.float32(target)
    product = np.float64(ratio) * (np.arange(target) + 0.5)
    if kernel is Kernel.LINES:
        product = product.astype(np.float32)
    position = np.maximum((product - 0.5).astype(np.float32), np.float32(0))
    first = np.minimum(position.astype(np.int64), source - 1)
    weight = np.clip(position - first.astype(np.float32), 0, 1, dtype=np.float32)
    second_weight = torch.from_numpy(weight)
    group_size = _group_size(first, weight, source)
    return Axis(source, target, first, np.minimum(first + 1, source - 1), 1 - second_weight, second_weight, group_size)


def _group_size(first: npt.NDArray[np.int64], weight: npt.NDArray[np.float32], source: int) -> int:
    factor, rest = divmod(len(first), source)
    if rest or factor < 2 or source < 2:
        return 1
    inner = slice(factor // 2, factor // 2 + (source - 1) * factor)
    first_gf, weight_gf = first[inner].reshape(-1, factor), weight[inner].reshape(-1, factor)
    is_steady = (first_gf == np.arange(source - 1)[:, None]).all() and (weight_gf == weight_gf[0]).all()
    return factor if is_steady else 1


def _steps(span: Span, size: int, group_size: int) -> Iterator[tuple[slice, int]]:
    for start in range(*span, max(size, group_size)):
        yield slice(start, min(start + max(size, group_size), span[1])), group_size


@dataclass(frozen=True, eq=False)
class Resize:
    """A bilinear interpolation h w -> H W that can compute single tiles."""

    rows: Axis
    """Vertically."""
    columns: Axis
    """Horizontally."""
    channels: int
    """Channels of the call that is reproduced: torch's choice of kernel depends on them."""
    kernel: Kernel
    """The kernel that is reproduced, here and by the axes."""

    @property
    def is_identity(self) -> bool:
        """Target equals source."""
        return self.rows.is_identity and self.columns.is_identity

    def tile(self, source_hw: Tensor, origin: tuple[int, int], rows: Span, columns: Span) -> Tensor:
        """The target's tile of two spans.

        Args:
            source_hw: float32, the sources that it needs (`Axis.sources_of`), or more.
            origin: row and column of its first pixel in the whole source.
            rows: target rows, not empty.
            columns: target columns, not empty.
        """
        y, x = origin
        across = slice(*columns)
        left_hW = source_hw.index_select(1, torch.from_numpy(self.columns.first_source[across] - x))
        right_hW = source_hw.index_select(1, torch.from_numpy(self.columns.second_source[across] - x))
        west, east = self.columns.first_weight[across], self.columns.second_weight[across]
        if self.kernel is Kernel.LINES:
            lines_hW = torch.addcmul(right_hW * east, left_hW, west.expand_as(left_hW))
            terms = [(lines_hW, BELOW, torch.ones_like(west)), (lines_hW, ABOVE, torch.ones_like(west))]
        else:
            terms = [(right_hW, ABOVE, east), (left_hW, ABOVE, west), (left_hW, BELOW, west), (right_hW, BELOW, east)]
        target_HW = torch.empty(rows[1] - rows[0], columns[1] - columns[0])
        for down, group_size in self.rows.blocks(rows, BLOCK_PIXELS // len(west)):
            sources, weights = self.rows.sources(down, group_size, y), self.rows.weights(down, group_size)
            block = target_HW[down.start - rows[0] : down.stop - rows[0]].view(-1, group_size, len(west))
            for number, (plane_hW, side, across_W) in enumerate(terms):
                blend = block.addcmul_ if number else partial(torch.mul, out=block)
                blend(weights[side] * across_W, _take_rows(plane_hW, sources[side]))
        return target_HW

    def whole(self, source_hw: Tensor) -> Tensor:
        """The whole target by torch itself, with as many channels as the call that is reproduced."""
        batch_1Chw = source_hw.expand(1, self.channels, *source_hw.shape).contiguous()
        size = (self.rows.target_size, self.columns.target_size)
        return functional.interpolate(batch_1Chw, size, mode="bilinear", align_corners=False)[0, 0]

    def agrees_with_torch(self) -> bool:
        """Whether `tile` gives torch's bits, tested on a random image of this size, or several where it is small: on
        few pixels another kernel may round alike."""
        rng, shape = np.random.default_rng(0), (self.rows.source_size, self.columns.source_size)
        images = (rng.normal(0, 8, shape).astype(np.float32) for _ in range(-(-_TEST_PIXELS // (shape[0] * shape[1]))))
        return all(self._agrees_on(torch.from_numpy(image_hw)) for image_hw in images)

    def _agrees_on(self, source_hw: Tensor) -> bool:
        own_HW = self.tile(source_hw, (0, 0), (0, self.rows.target_size), (0, self.columns.target_size))
        return torch.equal(own_HW, self.whole(source_hw))


def resize(source: tuple[int, int], target: tuple[int, int], channels: int) -> tuple[Resize, bool]:
    """The resize as torch does it now, with as many threads as it has, and whether its tiles are exact."""
    found = [
        Resize(axis(source[0], target[0], kernel), axis(source[1], target[1], kernel), channels, kernel)
        for kernel in Kernel
    ]
    exact = [one for one in found if one.agrees_with_torch()]
    return (exact or found)[0], bool(exact)


def _take_rows(values_hW: Tensor, rows: slice | Tensor) -> Tensor:
    """Rows for groups of targets [groups, 1, W]; contiguous rows are not copied."""
    return (values_hW[rows] if isinstance(rows, slice) else values_hW.index_select(0, rows))[:, None]
