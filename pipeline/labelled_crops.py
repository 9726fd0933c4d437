"""Random crops of labelled perspective pictures, from which an assistant is trained.

Legend: H W picture, S side of the crop, 3 = RGB.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.arrays import LabelArray
from pipeline.classes import IGNORE

Image = npt.NDArray[np.uint8]
SCALES = (0.5, 2.0)
"""Pictures are enlarged by a factor between these, as in SegFormer's own training."""


def random_crop(
    image_HW3: Image, labels_HW: LabelArray, side: int, rng: np.random.Generator
) -> tuple[Image, LabelArray]:
    """A square of a picture, enlarged or reduced, and perhaps mirrored, with its labels.

    Where the picture is smaller than the square, it is black and nothing is labelled.

    Args:
        image_HW3: RGB.
        labels_HW: class ids or 255.
        side: of the crop, pixels.
        rng: decides which; the same generator state gives the same crop.

    Returns:
        (image [S, S, 3], labels [S, S]).
    """
    scale = math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
    wanted = max(1, round(side / scale))
    height, width = labels_HW.shape
    top, left = (int(rng.integers(max(extent - wanted, 0) + 1)) for extent in (height, width))
    part = np.s_[top : top + wanted, left : left + wanted]
    image, labels = image_HW3[part], labels_HW[part]
    missing = [(0, wanted - extent) for extent in labels.shape]
    image = np.pad(image, (*missing, (0, 0)))
    labels = np.pad(labels, missing, constant_values=IGNORE)
    how = cv2.INTER_AREA if wanted > side else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)
    labels = np.asarray(cv2.resize(labels, (side, side), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)
