"""Augmentations of a sample that keep its targets valid; a function of (seed, step, index) alone.

A yaw of the camera (a roll of the columns) and a mirror image are exact on a panorama and are applied to image and
targets together. Rolls and crops start at multiples of 32 columns, whole cells of every feature level. Colours change
in the image alone.

Legend: B batch, H W panorama, 3 = RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.panorama.config import GRID
from pipeline.student.config import DistillConfig
from pipeline.student.pooling import PooledSample

Array = npt.NDArray[Any]
_STREAM = 1
"""Random stream of augmentations; the order of samples has stream 0."""


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of one sample."""

    start: int
    """Column of the panorama that becomes the first, modulo its width."""
    width: int
    """Number of columns kept from there; they wrap over the seam."""
    mirror: bool = False
    """Whether left and right are swapped afterwards."""
    colours: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of brightness, contrast and saturation."""


def draw_augmentation(config: DistillConfig, width: int, seed: int, step: int, index: int) -> Augmentation:
    """The augmentation of sample `index` in the batch of `step`, for panoramas of `width` columns (a multiple of
    32)."""
    rng = np.random.default_rng((seed, _STREAM, step, index))
    start, mirror = GRID * int(rng.integers(width // GRID)), bool(rng.integers(2))
    strengths = rng.uniform(-config.colour_jitter, config.colour_jitter, 3)
    kept = config.columns_of_step(width)
    return Augmentation(
        start=start if config.yaw_roll or kept < width else 0,
        width=kept,
        mirror=mirror and config.mirror,
        colours=(float(1 + strengths[0]), float(1 + strengths[1]), float(1 + strengths[2])),
    )


def transform(sample: PooledSample, augmentation: Augmentation) -> PooledSample:
    """Roll, crop and mirror image and targets together; colours are changed by `jitter_colours`.

    Features move too, but those of a mirrored sample are not what the assistant would compute for the mirrored image
    (its filters are not symmetric); `TrainingBatch.mirrored_B` keeps them out of the loss.
    """
    maps = {name: _move(array, augmentation, sample.width) for name, array in sample.maps.items()}
    image_HW3 = _move(sample.image_HW3.transpose(2, 0, 1), augmentation, sample.width).transpose(1, 2, 0)
    features = {level: _move(array, augmentation, sample.width) for level, array in sample.features.items()}
    return PooledSample(image_HW3=image_HW3, features=features, **maps)


def _move(array: Array, augmentation: Augmentation, panorama_width: int) -> Array:
    """The augmentation applied to the columns (last axis) of an array, which may be coarser than the panorama's."""
    columns = array.shape[-1]
    pixels = (augmentation.start, augmentation.width)
    start, width = (_divide_exactly(count * columns, panorama_width, array.shape) for count in pixels)
    moved = take_columns(array, start, width)
    return moved[..., ::-1] if augmentation.mirror else moved


def _divide_exactly(numerator: int, denominator: int, shape: tuple[int, ...]) -> int:
    quotient, rest = divmod(numerator, denominator)
    if rest:
        raise ValueError(
            f"an array of shape {shape} cannot be rolled with a panorama of {denominator} columns in steps of {GRID}"
        )
    return quotient


def take_columns(array: Array, start: int, width: int) -> Array:
    """`width` columns from `start`, along the last axis, wrapping from the last column to the first; width <=
    columns."""
    columns = array.shape[-1]
    start %= columns
    inside = min(width, columns - start)
    if inside == width:
        return array[..., start : start + width]
    return np.concatenate((array[..., start:], array[..., : width - inside]), axis=-1)


def jitter_colours(images_B3HW: Tensor, colours_B3: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation of RGB in [0, 1] by each image's factors; 1 changes nothing."""
    brightness, contrast, saturation = colours_B3.view(-1, 3, 1, 1, 1).unbind(dim=1)
    x = images_B3HW * brightness
    mean = _luma(x).mean(dim=(2, 3), keepdim=True)
    x = mean + (x - mean) * contrast
    grey = _luma(x)
    return (grey + (x - grey) * saturation).clamp(0, 1)


def _luma(x_B3HW: Tensor) -> Tensor:
    """Luma of RGB (ITU-R BT.601), [B, 1, H, W]."""
    red, green, blue = x_B3HW.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue
