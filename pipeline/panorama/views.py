"""Views: the images of a panorama that networks see, and the projection of their pixels back to the panorama.

Stage one uses views only through `View`. Windows of the flat panorama (`windows`) are one kind, perspective views
(`perspective`) another. The *footprint* of a view is the smallest window of the panorama that contains all pixels seen
by the view; values of a view are projected to that rectangle and blended there (`Stitcher`).

Legend: C channels, H W panorama, h w view, f g footprint (rows, columns), 3 = RGB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float64Array, FloatArray, ScalarT
from pipeline.panorama.windows import Window, add_to, cut


class View(Protocol):
    """An image W_i of a panorama. Views are hashable; equal views see the same."""

    @property
    def height(self) -> int:
        """Rows of the view, pixels."""
        ...

    @property
    def width(self) -> int:
        """Columns of the view, pixels."""
        ...

    @property
    def footprint(self) -> Window:
        """The smallest window of the panorama that contains all pixels seen by the view."""
        ...

    def is_closed(self, panorama_width: int) -> bool:
        """Whether the first column of the view is a neighbour of the last."""
        ...

    @property
    def covered_hw(self) -> npt.NDArray[np.bool_]:
        """Pixels of the view that the panorama covers, [h, w]; all but those beyond the rows of a band. Read-only."""
        ...

    def cut_image(self, image_HW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The view's RGB image [h, w, 3]."""
        ...

    def cut_nearest(self, values_HW: npt.NDArray[ScalarT]) -> npt.NDArray[ScalarT]:
        """Labels or flags of the panorama at the view's pixels, [h, w], nearest."""
        ...

    def project_nearest(self, values_hw: npt.NDArray[ScalarT], outside: Any = 0) -> npt.NDArray[ScalarT]:
        """Labels, flags or ids of the view on its footprint, [f, g]; `outside` where the view sees nothing."""
        ...

    def project_linear(self, values_Chw: FloatArray) -> FloatArray:
        """Float64Array of the view's pixels on its footprint, [C, f, g]; anything where the view sees nothing."""
        ...

    def coordinates(self, rows: Float64Array, columns: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Coordinates in the view of points of the panorama.

        Args:
            rows: pixels from the panorama's upper edge, [f].
            columns: pixels from its left edge, [g]; those of a footprint increase, perhaps beyond W.

        Returns:
            Pixels from the view's upper and left edge, [f, g] each.
        """
        ...

    def blend_weights(self, height: int, width: int, stride: int = 1) -> FloatArray:
        """Weights [f, g] of the view on its footprint: 0 where it sees nothing, rising from its border to its middle.

        They need not sum to one over the views; `Stitcher` normalises them.

        Args:
            height: rows of the panorama, pixels.
            width: columns of the panorama, pixels.
            stride: the weights are those of cells of stride x stride pixels.
        """
        ...


class Stitcher:
    """Weighted mean over views, accumulated in the memory of one panorama."""

    def __init__(
        self, height: int, width: int, channels: int, views: Sequence[View], stride: int = 1, *, gaps: bool = False
    ) -> None:
        """`views` are all that will be added to a panorama of H x W pixels, in cells of stride x stride pixels.

        Raises:
            ValueError: the views leave pixels uncovered, and `gaps` are not allowed (the mean is 0 there).
        """
        self._size, self._stride = (height, width), stride
        self._pending = Counter(views)
        rows, columns = (-(-side // stride) for side in self._size)
        self._total_HW = np.zeros((rows, columns), np.float32)
        for view in views:
            add_to(self._total_HW, self._footprint(view), view.blend_weights(height, width, stride))
        if not gaps and not self._total_HW.all():
            raise ValueError(f"{len(views)} views do not cover the panorama of {width}x{height}")
        self._mean_CHW = np.zeros((channels, rows, columns), np.float32)

    def add(self, view: View, values_Cfg: FloatArray) -> None:
        """Blend in the values on a view's footprint; each view once, in any order.

        Raises:
            ValueError: it is not [C, f, g] of the footprint.
        """
        footprint = self._footprint(view)
        expected = (len(self._mean_CHW), footprint.height, footprint.width)
        if values_Cfg.shape != expected:
            raise ValueError(f"values have the shape {values_Cfg.shape}; a view's are [C, f, g], here {expected}")
        add_to(self._mean_CHW, footprint, self.weights(view) * values_Cfg)
        self._pending.subtract([view])

    def weights(self, view: View) -> FloatArray:
        """Normalised weights_fg of a view on its footprint: over all views they sum to one at each pixel."""
        total_fg = cut(self._total_HW, self._footprint(view))
        total_fg[total_fg == 0] = 1  # where the view has no weight either
        return view.blend_weights(*self._size, self._stride) / total_fg

    @property
    def total_HW(self) -> FloatArray:
        """Sum of the views' blend weights; 0 where no view sees anything, small near the border of what they see."""
        return self._total_HW

    def result(self) -> FloatArray:
        """The stitched mean_CHW, float32.

        Raises:
            ValueError: views were left out or added twice.
        """
        if any(self._pending.values()):
            late, extra = (sum(number.values()) for number in (+self._pending, -self._pending))
            raise ValueError(
                f"{late} views are left to add, {extra} were added too often; every view must be added exactly once"
            )
        return self._mean_CHW

    def _footprint(self, view: View) -> Window:
        return view.footprint.in_cells(self._stride)
