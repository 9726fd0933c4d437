"""Stage one as it would be over segment_anything's own mask generator: what ours is compared with."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from threading import Lock
from unittest import mock

import numpy as np
import numpy.typing as npt
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet
from stages import panorama_task


class StockMasks:
    """`SamMaskGenerator` as it would be over the stock generator."""

    notes: tuple[str, ...] = ()

    def __init__(self, sam: Sam, config: SamConfig, _ignored: Sequence[str] = ()) -> None:
        self._generator = SamAutomaticMaskGenerator(sam, **config.generator_settings())
        self._turn = Lock()  # it keeps the window that it works on, and stage one asks from several threads on a GPU

    def __call__(self, window_hw3: npt.NDArray[np.uint8]) -> MaskSet:
        """Masks of an RGB window."""
        with self._turn:
            found = self._generator.generate(np.ascontiguousarray(window_hw3))
        masks = [mask["segmentation"] for mask in found]
        return MaskSet.from_dense(
            np.stack(masks) if masks else np.empty((0, *window_hw3.shape[:2]), np.bool_),
            [mask["predicted_iou"] for mask in found],
            [mask["stability_score"] for mask in found],
        )

    def many(self, windows: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        """Masks of several windows, one after the other."""
        return [self(window_hw3) for window_hw3 in windows]


@contextmanager
def stock_generator() -> Generator[None]:
    """Stage one asks the stock generator."""
    with mock.patch("pipeline.teacher.sam.SamMaskGenerator", StockMasks):
        panorama_task._sam.cache_clear()
        yield
    panorama_task._sam.cache_clear()


def forget_networks() -> None:
    """The next run of stage one loads its networks anew."""
    panorama_task._sam.cache_clear()
    panorama_task._assistant.cache_clear()
