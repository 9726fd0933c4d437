"""Targets of a sample, pooled to the losses' stride once per panorama, before augmentation.

Rolls, crops and mirrors move whole squares of pixels (their columns are multiples of 32), so pooling before or after
them is the same; before, sixteen times less has to be cached, moved, stacked and copied to a GPU at a stride of 4.

Legend: C classes, D feature channels, H W panorama, h w the losses' resolution (H / stride, rounded up), 3 = RGB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.cache.codec import encode_probabilities
from pipeline.classes import IGNORE
from pipeline.student.model import STRIDE
from pipeline.student.sample import PanoramaSample

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PooledSample:
    """Arrays of one panorama; columns are the second axis of the image, the last of all others."""

    image_HW3: Bytes
    """RGB."""
    assistant_Chw: Bytes
    """S_TA^w: codes 255 * sqrt(p) of the mean over each square's valid pixels; 0 where there are none."""
    ensemble_Chw: Bytes
    """Soft E, likewise."""
    valid_hw: Bytes
    """Number of pixels of each square that are not ignored, 0 .. stride^2."""
    reliable_hw: Bytes
    """Number of those with M = 1."""
    boundary_hw: Bytes
    """B_ref at the student's own resolution (H/4, W/4): 1 where a valid pixel of the square is a boundary, else 0."""
    boundary_valid_hw: Bytes
    """Number of valid pixels of each square at that resolution, 0 .. 16."""
    features: Mapping[int, npt.NDArray[np.float16]]
    """The assistant's encoder levels by number, as in `PanoramaSample`."""
    corrected_hw: Bytes | None = None
    """Class id that most of each square's corrected pixels have, IGNORE where none is corrected; None for no
    corrections."""

    @property
    def width(self) -> int:
        """Columns of the panorama."""
        return self.image_HW3.shape[1]

    @property
    def maps(self) -> dict[str, npt.NDArray[Any]]:
        """All arrays but the image and the features, by name."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in ("image_HW3", "features"))
        return {name: array for name in names if (array := getattr(self, name)) is not None}

    @property
    def nbytes(self) -> int:
        """Memory of all arrays, bytes."""
        arrays = (self.image_HW3, *self.maps.values(), *self.features.values())
        return sum(array.nbytes for array in arrays)


def pool(sample: PanoramaSample, stride: int) -> PooledSample:
    """The sample with its targets pooled by `stride` (1, 2 or 4); ignored pixels and padded rows enter no mean.

    Raises:
        ValueError: the stride is another one.
    """
    if stride not in (1, 2, 4):
        raise ValueError(f"the stride is {stride}; targets are pooled by 1, 2 or 4")
    valid_HW = ~sample.ignored_HW
    return PooledSample(
        image_HW3=sample.image_HW3,
        assistant_Chw=pool_codes(sample.assistant_CHW, valid_HW, stride),
        ensemble_Chw=pool_codes(sample.ensemble_CHW, valid_HW, stride),
        valid_hw=count(valid_HW, stride),
        reliable_hw=count(sample.reliable_HW & valid_HW, stride),
        boundary_hw=np.minimum(count(sample.boundary_HW & valid_HW, STRIDE), 1),
        boundary_valid_hw=count(valid_HW, STRIDE),
        features=sample.features,
        corrected_hw=None if sample.corrected_HW is None else pool_labels(sample.corrected_HW, valid_HW, stride),
    )


def pool_labels(labels_HW: Bytes, valid_HW: npt.NDArray[np.bool_], stride: int) -> Bytes:
    """The most frequent label of each square's valid pixels, the lowest on ties; IGNORE where none has one."""
    best_hw, most_hw = None, None
    for label in np.unique(labels_HW[valid_HW & (labels_HW != IGNORE)]):
        number_hw = count((labels_HW == label) & valid_HW, stride)
        if best_hw is None or most_hw is None:
            best_hw, most_hw = np.full(number_hw.shape, IGNORE, np.uint8), np.zeros_like(number_hw)
        best_hw[number_hw > most_hw] = label
        most_hw = np.maximum(most_hw, number_hw)
    return np.full(count(valid_HW, stride).shape, IGNORE, np.uint8) if best_hw is None else best_hw


def count(flags_HW: npt.NDArray[np.bool_], stride: int) -> Bytes:
    """Number of set pixels in each square of stride x stride; rows beyond the last count as unset."""
    squares_1hw = functional.avg_pool2d(_pad_rows(torch.from_numpy(flags_HW).float()[None], stride), stride)
    return cast(Bytes, (squares_1hw * stride**2).round().byte()[0].numpy())


def pool_codes(codes_CHW: Bytes, valid_HW: npt.NDArray[np.bool_], stride: int) -> Bytes:
    """Codes of the mean probabilities of each square's valid pixels; 0 where none is valid."""
    valid_1HW = torch.from_numpy(valid_HW)[None]
    if stride == 1:
        return cast(Bytes, (torch.from_numpy(codes_CHW) * valid_1HW).numpy())
    probabilities_CHW = decode(torch.from_numpy(codes_CHW)[None])[0].mul_(valid_1HW)
    sums_Chw = functional.avg_pool2d(_pad_rows(probabilities_CHW, stride), stride)
    share_1hw = functional.avg_pool2d(_pad_rows(valid_1HW.float(), stride), stride)
    return encode_probabilities((sums_Chw / share_1hw.clamp_min(torch.finfo(torch.float32).eps)).numpy())


def decode(codes_BCHW: Tensor) -> Tensor:
    """uint8 codes 255 * sqrt(p) (the store's sqrt8) -> float32 probabilities that sum to 1 over C; all-zero codes give
    0."""
    squares = codes_BCHW.float().square_()
    return squares.div_(squares.sum(dim=1, keepdim=True).clamp_min_(1.0))


def _pad_rows(x_CHW: Tensor, stride: int) -> Tensor:
    missing = -x_CHW.shape[-2] % stride
    return functional.pad(x_CHW, (0, 0, 0, missing)) if missing else x_CHW
