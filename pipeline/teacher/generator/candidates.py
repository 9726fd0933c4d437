"""Masks of one crop until duplicates are known: what the filters look at, and pixels that may be drawn later.

Legend: M masks. Boxes are (y0, x0, y1, x1) in pixels of the crop, ends exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.teacher.generator.regions import Measuring, Pixels


@dataclass(frozen=True, eq=False)
class Candidates:
    """Stable masks in the order of the prompts, as a struct of arrays."""

    boxes_M4: npt.NDArray[np.int32]
    """Tight; zeros for an empty mask."""
    predicted_iou_M: npt.NDArray[np.float32]
    """SAM's own estimate of each mask's quality."""
    stability_M: npt.NDArray[np.float32]
    """Stability of each mask under a shift of the threshold."""
    points_M2: npt.NDArray[np.float64]
    """The point (x, y) that each answers, pixels of the crop."""
    pixels: Pixels
    """What the masks look like."""
    way: Measuring
    """What measured them and can draw them."""

    def filter(self, chosen_M: npt.NDArray[np.int64]) -> Candidates:
        """A selection by index, in the order wanted."""
        if isinstance(self.pixels, Tensor):
            pixels = self.pixels[torch.from_numpy(chosen_M).to(self.pixels.device)]
        else:
            pixels = tuple(self.pixels[number] for number in chosen_M)
        return Candidates(
            self.boxes_M4[chosen_M],
            self.predicted_iou_M[chosen_M],
            self.stability_M[chosen_M],
            self.points_M2[chosen_M],
            pixels,
            self.way,
        )


def all_of(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of at least one chunk of one crop, one chunk after the other."""
    return Candidates(
        np.concatenate([part.boxes_M4 for part in parts]),
        np.concatenate([part.predicted_iou_M for part in parts]),
        np.concatenate([part.stability_M for part in parts]),
        np.concatenate([part.points_M2 for part in parts]),
        _joined([part.pixels for part in parts]),
        parts[0].way,
    )


def _joined(parts: Sequence[Pixels]) -> Pixels:
    on_device = [part for part in parts if isinstance(part, Tensor)]
    if on_device:
        return torch.cat(on_device)
    return tuple(bitmap for part in parts if not isinstance(part, Tensor) for bitmap in part)
