"""Which pixels of the panorama an image that the assistant is shown sees, and where in the image they lie.

Losses are computed at pixels of the panorama, whatever the image is: a window, a perspective view or the whole. So E
is read where it is, images overlap where they see the same pixels, and what lies beyond a band is seen by none.

Legend: N pixels seen, C classes, H W panorama, h w logits' resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.arrays import FloatArray
from pipeline.panorama.views import View

LATTICE = 2
"""Losses are computed at every second pixel of every second row: neighbours tell little that is new."""


@dataclass(frozen=True, eq=False)
class VisiblePixels:
    """The pixels of a panorama that an image sees, of those on the lattice; arrays are read-only."""

    pixels_N: npt.NDArray[np.int64]
    """Their places in the panorama, row * W + column, increasing."""
    places_N2: FloatArray
    """Where their centres lie in the image: x as a share of its width, y as a share of its height."""


@lru_cache(maxsize=256)
def visible_pixels(view: View, height: int, width: int) -> VisiblePixels:
    """What a view of a panorama of H x W pixels sees of it."""
    footprint = view.footprint
    rows = np.arange(footprint.row + footprint.row % LATTICE, footprint.row + footprint.height, LATTICE)
    columns = np.arange(footprint.column + footprint.column % LATTICE, footprint.column + footprint.width, LATTICE)
    y_fg, x_fg = view.coordinates(*(centres.astype(np.float64) + 0.5 for centres in (rows, columns)))
    seen_fg = (y_fg > 0) & (y_fg < view.height) & (x_fg > 0) & (x_fg < view.width)
    pixels_fg = rows[:, None] * width + columns[None, :] % width
    pixels_N, order_N = np.unique(pixels_fg[seen_fg], return_index=True)
    places_N2 = np.stack((x_fg[seen_fg] / view.width, y_fg[seen_fg] / view.height), axis=-1)[order_N]
    sight = VisiblePixels(pixels_N.astype(np.int64), places_N2.astype(np.float32))
    for array in (sight.pixels_N, sight.places_N2):
        array.setflags(write=False)
    return sight


def sample_logits(logits_Chw: Tensor, places_N2: Tensor, cells: tuple[float, float]) -> Tensor:
    """Logits at some places of an image, [C, N], bilinear; at its border those of the outermost cells.

    Args:
        logits_Chw: the network's, at its own resolution.
        places_N2: shares of the image's width and height.
        cells: the image's height and width in cells of the logits; the last cell may extend beyond it.
    """
    share_2 = torch.tensor([cells[1] / logits_Chw.shape[2], cells[0] / logits_Chw.shape[1]], device=places_N2.device)
    grid_11N2 = (2 * places_N2 * share_2 - 1)[None, None]
    sampled = functional.grid_sample(logits_Chw[None], grid_11N2, padding_mode="border", align_corners=False)
    return sampled[0, :, 0]


def overlap(first: VisiblePixels, second: VisiblePixels) -> tuple[Tensor, Tensor]:
    """Positions in either's list of the pixels that both see."""
    _, in_first, in_second = np.intersect1d(first.pixels_N, second.pixels_N, assume_unique=True, return_indices=True)
    return torch.from_numpy(in_first), torch.from_numpy(in_second)
