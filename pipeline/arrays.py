"""Types of arrays that modules share; axes are named by the suffixes of variables."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
"""RGB, 0..255."""
LabelArray = npt.NDArray[np.uint8]
"""Class ids; `classes.IGNORE` for none."""
FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
AnyFloatArray = npt.NDArray[np.floating]
ScalarT = TypeVar("ScalarT", bound=np.generic)
