"""Label Studio's run lengths of a brush mask: the format `rle-pack` (thi.ng/umbrella) over RGBA bytes.

All numbers are big-endian bit fields. Header: number of values (32 bits), word size - 1 (5), and four sizes - 1 of
counts (4 each). Then blocks: one bit tells a run (1) from literal values (0), two bits choose the size of the count,
then the count - 1, then the value of the run or the literal values. The values are the bytes of an RGBA picture whose
alpha is the mask.

Legend: h w picture, N runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray
from pipeline.errors import InputError
from pipeline.exchange.regions import run_lengths

_COUNT_BITS = (3, 4, 8, 16)
_WORD_BITS = 8
_LONGEST = 1 << _COUNT_BITS[-1]
_CHANNELS = 4
_OPAQUE = 128
"""Alpha from which on a pixel is in the mask."""


def encode_brush(mask_hw: BoolArray) -> list[int]:
    """A mask as bytes of the format; the picture's four channels are 255 in the mask and 0 elsewhere."""
    flat = mask_hw.ravel()
    lengths, values = run_lengths(flat) * _CHANNELS, flat[np.append(0, np.cumsum(run_lengths(flat))[:-1])]
    parts = np.maximum(1, -(-lengths // _LONGEST))  # a count has at most 16 bits
    counts = np.full(int(parts.sum()), _LONGEST, np.int64)
    counts[np.cumsum(parts) - 1] = lengths - (parts - 1) * _LONGEST
    words = np.where(np.repeat(values, parts), 255, 0).astype(np.int64)
    choice = np.searchsorted([1 << bits for bits in _COUNT_BITS], counts)
    bits = np.array(_COUNT_BITS)[choice]
    codes = (((1 << 2 | choice) << bits | (counts - 1)) << _WORD_BITS) | words
    header = _bits(np.array([flat.size * _CHANNELS, _WORD_BITS - 1, *(bits - 1 for bits in _COUNT_BITS)]),
                   np.array([32, 5, 4, 4, 4, 4]))  # fmt: skip
    return np.packbits(np.concatenate((header, _bits(codes, 3 + bits + _WORD_BITS)))).tolist()


def _bits(codes: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Numbers as bit fields of their lengths, one after the other."""
    ends = np.cumsum(lengths)
    left = np.repeat(ends, lengths) - np.arange(ends[-1]) - 1
    return (np.repeat(codes, lengths) >> left & 1).astype(np.uint8)


class _Reader:
    """Reads bit fields."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at, self.end = content, 0, 8 * len(content)

    def read(self, bits: int) -> int:
        """The next number of so many bits.

        Raises:
            EOFError: the content ends before.
        """
        after = self.at + bits
        if after > self.end:
            raise EOFError
        last = (after + 7) // 8
        number = int.from_bytes(self.content[self.at // 8 : last], "big")
        self.at = after
        return number >> (8 * last - after) & ((1 << bits) - 1)


def decode_brush(content: Sequence[int], height: int, width: int, where: str) -> BoolArray:
    """The mask [h, w] of bytes of the format: where alpha is at least half.

    Raises:
        InputError: they are damaged, or of a picture of another size.
    """
    try:
        reader = _Reader(bytes(content))
        size, word_bits = reader.read(32), reader.read(5) + 1
        count_bits = [reader.read(4) + 1 for _ in range(4)]
        if size != height * width * _CHANNELS:
            raise InputError(f"{where} has a brush mask of {size // _CHANNELS} pixels",
                             f"its picture has {width}x{height}", "Export the annotations again")  # fmt: skip
        values = np.empty(size, np.uint8)
        at = 0
        while at < size:
            is_run = reader.read(1)
            count = reader.read(count_bits[reader.read(2)]) + 1
            if at + count > size:
                raise EOFError
            values[at : at + count] = (
                reader.read(word_bits) if is_run else [reader.read(word_bits) for _ in range(count)]
            )
            at += count
    except (EOFError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} has a damaged brush mask",
                         "it must be as Label Studio writes it", "Export the annotations again") from error  # fmt: skip
    return values.reshape(height, width, _CHANNELS)[..., 3] >= _OPAQUE
