"""One panorama for the student: the image and stage one's results as they are stored.

Legend: C classes, D feature channels, H W panorama, h w a feature level's resolution, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PanoramaSample:
    """Arrays of one panorama at the working size; columns are the second axis of the image, the last of all others."""

    image_HW3: npt.NDArray[np.uint8]
    """RGB."""
    assistant_CHW: npt.NDArray[np.uint8]
    """S_TA^w as it is stored: 255 * sqrt(probability), a quarter of the memory of float32."""
    ensemble_CHW: npt.NDArray[np.uint8]
    """Soft E, likewise."""
    reliable_HW: npt.NDArray[np.bool_]
    """M: where the ensemble is reliable."""
    boundary_HW: npt.NDArray[np.bool_]
    """B_ref."""
    ignored_HW: npt.NDArray[np.bool_]
    """Pixels that no loss sees."""
    features: Mapping[int, npt.NDArray[np.float16]]
    """The assistant's encoder levels by number (1 = finest), [D, h, w] each, up to a factor per level; may be empty."""
    corrected_HW: npt.NDArray[np.uint8] | None = None
    """Class ids where people have corrected the ensemble, IGNORE elsewhere; None where nobody has."""


SampleReader = Callable[[str], PanoramaSample]
"""Reads the sample of a panorama's id; raises a GoodSAMError where it cannot."""
