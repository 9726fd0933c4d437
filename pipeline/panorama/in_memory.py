"""A panorama that is an array already, at the working size."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.arrays import ImageArray
from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import MINIMUM_WIDTH, OpenedPanorama, require_aspect, resize_wrapping
from pipeline.panorama.placement import Placement

_NAME = Path("the image")
"""What messages call it."""


def panorama_of_array(image_HW3: ImageArray, config: PanoramaConfig) -> OpenedPanorama:
    """A panorama from its pixels, resized to the working size over the seam; it fills the canvas and is level.

    Args:
        image_HW3: RGB, uint8 [H, W, 3], upright sRGB of any size; it is not changed.
        config: working size and field of view.

    Raises:
        InputError: it is no such array, is too small, or has not the aspect ratio of `config`.
    """
    if not isinstance(image_HW3, np.ndarray):
        raise _no_rgb(f"an image of {type(image_HW3).__name__}")
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        raise _no_rgb(f"an image of {image_HW3.dtype} and shape {image_HW3.shape}")
    height, width = image_HW3.shape[:2]
    require_aspect(_NAME, width, height, config)
    if width < MINIMUM_WIDTH:
        raise InputError(f"{_NAME} is only {width}x{height}", f"a panorama is at least {MINIMUM_WIDTH} pixels wide",
                         "Give a larger one")  # fmt: skip
    resized = resize_wrapping(Image.fromarray(np.ascontiguousarray(image_HW3)), config.width, config.height)
    transparent_HW = np.zeros((config.height, config.width), np.bool_)
    place = Placement.whole(height, width)
    sha256 = hashlib.sha256(image_HW3.tobytes()).hexdigest()
    return OpenedPanorama(np.array(resized), transparent_HW, height, width, sha256, place)


def _no_rgb(found: str) -> InputError:
    return InputError(found, "a panorama is RGB as a numpy array, uint8 [H, W, 3]",
                      "Convert it first, or give the path of its file")  # fmt: skip
