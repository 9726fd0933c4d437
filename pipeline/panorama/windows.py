"""Overlapping windows over a panorama: their grid, cutting them out and blending them (paper figure 2).

Columns wrap over the seam at 0/360 degrees, rows do not. Neighbours are blended with raised-cosine weights, so that
predictions near a window's border, which lack context, count little. A window is the simplest `View`: its pixels are
the panorama's own.

Legend: C channels, H W panorama, h w window, K windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, FloatArray, ScalarT
from pipeline.panorama.config import WindowConfig


@dataclass(frozen=True)
class Window:
    """A window W_i of a panorama, pixels: rows [row, row + height), columns [column, column + width) modulo W."""

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

    @property
    def footprint(self) -> Window:
        """The window itself."""
        return self

    def is_closed(self, panorama_width: int) -> bool:
        """Whether it spans 360 degrees, so that its first column is a neighbour of its last."""
        return self.width == panorama_width

    @property
    def covered_hw(self) -> npt.NDArray[np.bool_]:
        """All of its pixels."""
        return np.broadcast_to(np.True_, (self.height, self.width))

    def cut_image(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Its part of an RGB panorama, [h, w, 3].

        Raises:
            ValueError: its rows are not all inside.
        """
        return cut(image_HW3, self)

    def cut_nearest(self, values_HW: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """Its part of a map of the panorama, [h, w].

        Raises:
            ValueError: its rows are not all inside.
        """
        return cut(values_HW, self)

    def project_nearest(self, values_hw: npt.NDArray[ScalarT], outside: Any = 0) -> npt.NDArray[ScalarT]:
        """The values themselves."""
        return values_hw

    def project_linear(self, values_Chw: FloatArray) -> FloatArray:
        """The values themselves."""
        return values_Chw

    def coordinates(self, rows: Float64Array, columns: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Coordinates in the window of points of the panorama: pixels from its upper and left edge, [f, g] each."""
        y, x = np.meshgrid(rows - self.row, columns - self.column, indexing="ij")
        return y, x

    def blend_weights(self, height: int, width: int, stride: int = 1) -> FloatArray:
        """As the function `blend_weights`, in cells of stride x stride pixels."""
        return blend_weights(self.in_cells(stride), -(-height // stride), -(-width // stride))


def window_grid(height: int, width: int, config: WindowConfig) -> tuple[Window, ...]:
    """Windows that cover a panorama of H x W pixels, shape by shape, each row by row from the top left.

    Rows step by stride_y; the last is moved up to end at the bottom, so its offset is a multiple of 32 only where
    H - h is one. Columns step by stride_x over the whole circle (ceil(W / stride_x) windows); a window as wide as
    the panorama needs one column. Every shape covers the panorama on its own.
    """
    return tuple(window for shape in config.shapes for window in _grid_of_shape(height, width, shape))


def _grid_of_shape(height: int, width: int, config: WindowConfig) -> tuple[Window, ...]:
    h, w = min(config.height, height), min(config.width, width)
    rows = (*range(0, height - h, config.stride_y), height - h)
    columns = (0,) if w == width else tuple(range(0, width, config.stride_x))
    return tuple(Window(row, column, h, w) for row in rows for column in columns)


def missing_overlap(height: int, width: int, config: WindowConfig) -> tuple[str, ...]:
    """A sentence for each direction in which the windows of a panorama of H x W pixels have no neighbour to overlap.

    One row of windows as high as the panorama lacks nothing: there is nothing above and below it. Nor do windows of
    several shapes, which cross each other's borders.
    """
    if config.more:
        return ()
    notes: list[str] = []
    if config.width >= width:
        notes.append(f"one window (windows.width is {config.width}) holds the whole width of the panorama ({width}): "
                    "windows do not wrap around the seam, where labels may break; "
                    f"windows.width = {width // 2} or less lets them")  # fmt: skip
    for key, direction, stride, size, whole in (
        ("stride_x", "side by side", config.stride_x, config.width, width),
        ("stride_y", "one above the other", config.stride_y, config.height, height),
    ):
        if stride >= size and size < whole:
            notes.append(f"windows that lie {direction} do not overlap (windows.{key} is {stride}, as is their size): "
                        f"no other window corrects one near its borders, which may show in the labels; "
                        f"half of {size} is usual")  # fmt: skip
    return tuple(notes)


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
    wide as the panorama. They need not sum to one over the windows; `Stitcher` normalises them.
    """
    rows, columns = _raised_cosine(window.height), _raised_cosine(window.width)
    if window.row == 0:
        rows[: window.height // 2] = 1
    if window.row + window.height == height:
        rows[window.height // 2 :] = 1
    if window.width == width:
        columns[:] = 1
    return (rows[:, None] * columns[None, :]).astype(np.float32)


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


def _raised_cosine(size: int) -> Float64Array:
    """sin^2 at the pixel centres of [0, pi]: positive, and two of them half a window apart sum to one."""
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
