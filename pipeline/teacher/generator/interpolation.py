"""Any part of torch's bilinear interpolation of a mask, bit for bit, without the rest.

`torch.nn.functional.interpolate` can only give the whole target: its weights depend on a target pixel's distance from
the origin, in float32. Here the weights are computed once per axis, and a part of the target is blended from them with
the roundings of torch's kernel for three channels: four corners, fused multiply-adds. Whether that is this machine's
kernel is not believed but tried, once per size; where it is not, `interpolate` itself does the work.

Legend: h w source, H W target. A span is (start, stop), ends exclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Span = tuple[int, int]

BLOCK = 1 << 15
"""Target pixels blended at once: their nine float32 planes stay in a core's second cache."""


@dataclass(frozen=True, eq=False)
class Axis:
    """Where the targets of one axis look, and how much each of the two sources weighs."""

    source: int
    """Source pixels."""
    target: int
    """Target pixels."""
    first: npt.NDArray[np.int64]
    """The nearer source to the origin, per target."""
    second: npt.NDArray[np.int64]
    """The next one; the same at the end."""
    first_weight: Tensor
    """Its weight, float32 in [0, 1]."""
    second_weight: Tensor
    """1 minus that."""

    @property
    def is_identity(self) -> bool:
        """Target equals source."""
        return self.source == self.target

    def reached(self, span: Span) -> Span:
        """The targets that look at any source of the span."""
        start, stop = span
        return int(np.searchsorted(self.second, start)), int(np.searchsorted(self.first, stop))

    def needed(self, span: Span) -> Span:
        """The sources at which the targets of a span look; the span must not be empty."""
        start, stop = span
        return int(self.first[start]), int(self.second[stop - 1]) + 1


@lru_cache(maxsize=64)
def axis(source: int, target: int) -> Axis:
    """The axis of `align_corners=False`: target t lies at (t + 1/2) source / target - 1/2, clamped to the sources."""
    ratio = float(np.float32(source) / np.float32(target))
    exact = ratio * (np.arange(target) + 0.5) - 0.5  # float64, rounded once: a fused multiply-add
    position = np.maximum(exact.astype(np.float32), np.float32(0))
    first = np.minimum(position.astype(np.int64), source - 1)
    weight = torch.from_numpy(np.clip(position - first.astype(np.float32), 0, 1, dtype=np.float32))
    return Axis(source, target, first, np.minimum(first + 1, source - 1), 1 - weight, weight)


@dataclass(frozen=True, eq=False)
class Resize:
    """A bilinear interpolation h w -> H W of which parts can be had."""

    rows: Axis
    """Vertically."""
    columns: Axis
    """Horizontally."""
    channels: int
    """Channels of the call that is reproduced: torch's kernel, and with it the rounding, depends on them."""

    @property
    def is_identity(self) -> bool:
        """Nothing changes."""
        return self.rows.is_identity and self.columns.is_identity

    def part(self, source_hw: Tensor, origin: tuple[int, int], rows: Span, columns: Span) -> Tensor:
        """Target pixels of two spans.

        Args:
            source_hw: float32, the sources needed for them (`Axis.needed`), or more.
            origin: row and column of its first pixel in the whole source.
            rows: target rows, not empty.
            columns: target columns, not empty.
        """
        y, x = origin
        across = slice(*columns)
        left_hw = source_hw.index_select(1, torch.from_numpy(self.columns.first[across] - x))
        right_hw = source_hw.index_select(1, torch.from_numpy(self.columns.second[across] - x))
        west, east = self.columns.first_weight[across], self.columns.second_weight[across]
        target_HW = torch.empty(rows[1] - rows[0], columns[1] - columns[0])
        step = max(1, BLOCK // len(west))
        for start in range(rows[0], rows[1], step):
            down = slice(start, min(start + step, rows[1]))
            above, below = (torch.from_numpy(index[down] - y) for index in (self.rows.first, self.rows.second))
            north, south = self.rows.first_weight[down, None], self.rows.second_weight[down, None]
            block = target_HW[down.start - rows[0] : down.stop - rows[0]]
            # The order of torch's kernel: another one rounds differently.
            torch.mul(north * east, right_hw.index_select(0, above), out=block)
            block.addcmul_(north * west, left_hw.index_select(0, above))
            block.addcmul_(south * west, left_hw.index_select(0, below))
            block.addcmul_(south * east, right_hw.index_select(0, below))
        return target_HW

    def whole(self, source_hw: Tensor) -> Tensor:
        """The whole target by torch itself, in a call with as many channels as the one that is reproduced."""
        batch_1Chw = source_hw.expand(1, self.channels, *source_hw.shape).contiguous()
        size = (self.rows.target, self.columns.target)
        return functional.interpolate(batch_1Chw, size, mode="bilinear", align_corners=False)[0, 0]

    def agrees_with_torch(self) -> bool:
        """Whether `part` gives torch's bits, tried on one random image of this size."""
        shape = (self.rows.source, self.columns.source)
        source_hw = torch.from_numpy(np.random.default_rng(0).normal(0, 8, shape).astype(np.float32))
        own_HW = self.part(source_hw, (0, 0), (0, self.rows.target), (0, self.columns.target))
        return torch.equal(own_HW, self.whole(source_hw))
