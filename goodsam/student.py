"""A student as a Python object, and pictures as arrays.

Legend: C classes, H W picture, h w the network's own resolution, 3 = RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.arrays import FloatArray, ImageArray, LabelArray
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_full_size, open_panorama
from pipeline.panorama.in_memory import panorama_of_array
from pipeline.panorama.level import unlevel_values
from stages.predict_task import labels_of, scores_of
from stages.predictor import Predictor

ImageOrPath = ImageArray | str | Path
"""RGB, uint8 [H, W, 3], or the path of a picture."""


class Prediction(NamedTuple):
    """What a student says of one panorama."""

    labels_HW: LabelArray
    """Class ids, uint8 [H, W] at the picture's own size, in the order of `Student.classes`; 255 where nothing was seen
    (a black border)."""
    probabilities_Chw: FloatArray
    """Softmax, float32 [C, h, w], 0 to 1, over the same picture at the network's own resolution: a quarter of the
    working size."""


@dataclass(frozen=True)
class Student:
    """A student on a device. It sees a panorama whole, at the working size of its training."""

    predictor: Predictor
    """The network: class scores of an array of the working size."""
    panorama: PanoramaConfig
    """The working size and the field of view of its training; with other settings: `dataclasses.replace`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; ids count from 0."""
        return self.predictor.label_set.names

    def predict(self, image: ImageOrPath) -> Prediction:
        """Labels and probabilities of one panorama.

        Args:
            image: an equirectangular panorama over all 360 degrees: RGB, uint8 [H, W, 3] of any size, or the path of
                its file, whose tags then say where it lies on the sphere and how the camera was tilted.

        Raises:
            InputError: it is no such array, the file cannot be read, or width / height does not fit the field of view.
            WeightsError: the network gives NaN or infinity.
        """
        opened = (open_panorama(Path(image), self.panorama) if isinstance(image, str | Path)
                  else panorama_of_array(image, self.panorama))  # fmt: skip
        scores_Chw = scores_of(opened, self.predictor)
        place = opened.placement
        probabilities = [unlevel_values(own, place, outside=0) for own in _softmax(scores_Chw)]
        rows, columns = place.box(*scores_Chw.shape[1:])
        return Prediction(labels_of(opened, scores_Chw, self.panorama),
                          np.stack(probabilities)[:, rows, columns])  # fmt: skip


def pixels_of(image: ImageOrPath) -> ImageArray:
    """The pixels of a picture, upright sRGB; arrays stay as they are.

    Raises:
        InputError: the file cannot be read.
    """
    return open_full_size(Path(image))[0] if isinstance(image, str | Path) else image


def _softmax(scores_Chw: FloatArray) -> FloatArray:
    raised = np.exp(scores_Chw - scores_Chw.max(axis=0))
    return raised / raised.sum(axis=0)
