"""Overlapping windows over a panorama: where they lie, how they are cut out and stitched back (paper figure 2).

Columns wrap over the seam at 0/360 degrees, rows do not. Neighbours are blended with raised-cosine weights, so that
what a window says near its border, where it lacks context, counts little.

Legend: C channels, H W panorama, h w window, K windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.panorama.config import WindowConfig

ScalarT = TypeVar("ScalarT", bound=np.generic)
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A patch W_i of a panorama, pixels: rows [row, row + height) inside; columns [column, column + width) modulo W."""

    row: int
    column: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """The window's rows in the panorama."""
        return slice(self.row, self.row + self.height)

    def in_cells(self, stride: int) -> Window:
        """The window on a grid of cells of stride x stride pixels: all cells that it touches."""
        row, column = self.row // stride, self.column // stride
        bottom, right = -(-(self.row + self.height) // stride), -(-(self.column + self.width) // stride)
        return Window(row, column, bottom - row, right - column)


def window_grid(height: int, width: int, config: WindowConfig) -> tuple[Window, ...]:
    """Windows that cover a panorama of H x W pixels, row by row from the top left; all have the same size.

    Rows step by stride_y; the last is moved up to end at the bottom, so its offset is a multiple of 32 only where
    H - h is one. Columns step by stride_x over the whole circle (ceil(W / stride_x) windows); a window as wide as
    the panorama needs one column.
    """
    h, w = min(config.height, height), min(config.width, width)
    rows = (*range(0, height - h, config.stride_y), height - h)
    columns = (0,) if w == width else tuple(range(0, width, config.stride_x))
    return tuple(Window(row, column, h, w) for row in rows for column in columns)


def missing_overlap(height: int, width: int, config: WindowConfig) -> tuple[str, ...]:
    """A sentence for each direction in which the windows of a panorama of H x W pixels have no neighbour to overlap.

    One row of windows as high as the panorama lacks nothing: there is nothing above and below it.
    """
    told: list[str] = []
    if config.width >= width:
        told.append(f"one window (windows.width is {config.width}) holds the whole width of the panorama ({width}): "
                    "windows do not go on over the seam, where labels may break; "
                    f"windows.width = {width // 2} or less lets them")  # fmt: skip
    for key, direction, stride, size, whole in (
        ("stride_x", "side by side", config.stride_x, config.width, width),
        ("stride_y", "one above the other", config.stride_y, config.height, height),
    ):
        if stride >= size and size < whole:
            told.append(f"windows that lie {direction} do not overlap (windows.{key} is {stride}, as is their size): "
                        f"no other window corrects one near its borders, which may show in the labels; "
                        f"half of {size} is usual")  # fmt: skip
    return tuple(told)


def cut(array: npt.NDArray[ScalarT], window: Window, axis: int = 0) -> npt.NDArray[ScalarT]:
    """A copy of the window's part of a panorama whose rows are `axis` and whose columns are the axis after it.

    `axis` is 0 for [H, W] and [H, W, 3], 1 for [C, H, W].

    Raises:
        ValueError: the window's rows are not all inside, as when `axis` is forgotten.
    """
    _require_rows(window, array.shape[axis])
    before = (slice(None),) * axis
    parts = [array[(*before, window.rows, columns)] for columns, _ in _column_runs(window, array.shape[axis + 1])]
    return np.concatenate(parts, axis=axis + 1)


def blend_weights(window: Window, height: int, width: int) -> FloatArray:
    """Raised-cosine weights weights_hw in (0, 1] of a window of an H x W panorama.

    Flat towards the panorama's top and bottom border, where no neighbour overlaps, and all along a window that is as
    wide as the panorama. They need not sum to one over the windows: whoever blends normalises (`Stitcher`).
    """
    rows, columns = _raised_cosine(window.height), _raised_cosine(window.width)
    if window.row == 0:
        rows[: window.height // 2] = 1
    if window.row + window.height == height:
        rows[window.height // 2 :] = 1
    if window.width == width:
        columns[:] = 1
    return (rows[:, None] * columns[None, :]).astype(np.float32)


class Stitcher:
    """Weighted mean over windows, accumulated in place: it holds one panorama, however many windows there are."""

    def __init__(self, height: int, width: int, channels: int, windows: Sequence[Window]) -> None:
        """`windows` are all that will be added.

        Raises:
            ValueError: the windows leave pixels uncovered.
        """
        self._shape = (height, width)
        self._left = Counter(windows)
        self._total_HW = np.zeros((height, width), np.float32)
        for window in windows:
            add_to(self._total_HW, window, blend_weights(window, height, width))
        if not self._total_HW.all():
            raise ValueError(f"{len(windows)} windows do not cover the panorama of {width}x{height}")
        self._mean_CHW = np.zeros((channels, height, width), np.float32)

    def add(self, window: Window, values_Chw: FloatArray) -> None:
        """Blend in what a window says; each window once, in any order.

        Raises:
            ValueError: it is not [C, h, w] of the window.
        """
        expected = (len(self._mean_CHW), window.height, window.width)
        if values_Chw.shape != expected:
            raise ValueError(f"values have the shape {values_Chw.shape}; a window's are [C, h, w], here {expected}")
        add_to(self._mean_CHW, window, self.weights(window) * values_Chw)
        self._left.subtract([window])

    def weights(self, window: Window) -> FloatArray:
        """weights_hw of a window's pixels; those of all windows that see a pixel sum to one."""
        return blend_weights(window, *self._shape) / cut(self._total_HW, window)

    def result(self) -> FloatArray:
        """The stitched mean_CHW, float32.

        Raises:
            ValueError: windows were left out or added twice.
        """
        if any(self._left.values()):
            late, extra = (sum(number.values()) for number in (+self._left, -self._left))
            raise ValueError(
                f"{late} windows are left to add, {extra} were added too often; every window must be added exactly once"
            )
        return self._mean_CHW


def add_to(panorama: npt.NDArray[ScalarT], window: Window, values: npt.NDArray[ScalarT]) -> None:
    """Add a window's values [..., h, w] in place to a panorama's [..., H, W]; for flags, adding is "or".

    Raises:
        ValueError: the window's rows are not all inside, or the values are not of its size.
    """
    _require_rows(window, panorama.shape[-2])
    for there, here in _column_runs(window, panorama.shape[-1]):
        part = panorama[..., window.rows, there]
        np.add(part, values[..., here], out=part)


def _require_rows(window: Window, height: int) -> None:
    if not 0 <= window.row <= window.row + window.height <= height:
        raise ValueError(
            f"rows {window.row} to {window.row + window.height} of a window are not inside the {height} of the array"
        )


def _column_runs(window: Window, width: int) -> Iterator[tuple[slice, slice]]:
    """(columns in the panorama, columns in the window), in one run, or two where the window crosses the seam."""
    column = window.column % width
    first = min(window.width, width - column)
    yield slice(column, column + first), slice(0, first)
    if first < window.width:
        yield slice(0, window.width - first), slice(first, window.width)


def _raised_cosine(size: int) -> npt.NDArray[np.float64]:
    """sin^2 at the pixel centres of [0, pi]: positive, and two of them half a window apart sum to one."""
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
