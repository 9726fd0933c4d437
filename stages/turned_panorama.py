"""Stage one's products of a panorama whose camera was turned: computed as for the cache, and kept in memory.

Legend: H W panorama at the working size, 3 = RGB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import ImageArray
from pipeline.cache.records import Arrays
from pipeline.errors import CacheError
from stages.panorama_work import PanoramaTask, PanoramaWork
from stages.products import fingerprints, products_of
from stages.reading import RunReader, teacher_arrays
from stages.rungs import TeacherArrays
from stages.splits import SplitPanorama


@dataclass(frozen=True)
class _TurnedWork(PanoramaWork):
    """Work on a panorama whose columns were rolled, with products that lie in memory."""

    columns: int = 0
    """By how many columns of the working size the panorama was rolled."""
    made: dict[str, Arrays] = field(default_factory=dict[str, Arrays])
    """The products so far."""

    def image_at(self, width: int) -> npt.NDArray[np.uint8]:
        image_HW3 = super().image_at(width)
        if image_HW3 is self.image_HW3:
            return image_HW3
        return np.roll(image_HW3, round(self.columns * image_HW3.shape[1] / self.image_HW3.shape[1]), axis=1)

    def read(self, name: str, arrays: Iterable[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        made = self.made[name]
        return {array: made[array] for array in (made if arrays is None else arrays)}


@dataclass(frozen=True)
class TurnedStageOne:
    """Computes stage one for turned panoramas of a run."""

    reader: RunReader
    """Has the straight ones."""
    device: str
    """Torch device of the networks."""

    def __post_init__(self) -> None:
        """Make sure that the networks are those of the cache.

        Raises:
            CacheError: they are not.
            GoodSAMError: weights are missing.
        """
        if fingerprints(self.reader.recipe) != dict(self.reader.fingerprints):
            raise CacheError("SAM, the assistant or the ignore mask is not the one that made the cache",
                             "with evaluation.yaw_panoramas, both must be made by the same networks and mask",
                             "Run `goodsam teacher-cache`, or set evaluation.yaw_panoramas = 0")  # fmt: skip

    def __call__(self, panorama_id: str, turned_HW3: ImageArray, columns: int) -> TeacherArrays:
        """Stage one's arrays.

        Args:
            panorama_id: of a panorama of the run.
            turned_HW3: it, with its columns rolled.
            columns: by how many.

        Raises:
            InputError: the panorama's file cannot be read.
            WeightsError: a network is broken, or outputs NaN or infinity.
            DeviceError: the device fails, or has no room.
        """
        work = self._work(panorama_id, turned_HW3, columns)
        for product in products_of(self.reader.recipe):
            work.made[product.name] = product.compute(work)
        return teacher_arrays(self.reader.recipe, work.read)

    def _work(self, panorama_id: str, turned_HW3: ImageArray, columns: int) -> _TurnedWork:
        reader = self.reader
        panorama = SplitPanorama(panorama_id, reader.paths[panorama_id])
        task = PanoramaTask(panorama, reader.recipe, reader.store.path, reader.fingerprints, self.device, threads=1)
        ignored_HW = np.roll(reader.teacher(panorama_id).ignored_HW, columns, axis=1)
        source_width = reader.placement(panorama_id).canvas_width
        record = reader.records[panorama_id]
        return _TurnedWork(task, turned_HW3, ignored_HW, source_width, record, reader.store, columns=columns)
