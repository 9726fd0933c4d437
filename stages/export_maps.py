"""A panorama's cached results as maps, at the working size or at its picture's own.

Legend: C classes, H W panorama (working size, level), h w map: the same, or the picture's own pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import BoolArray, FloatArray, ImageArray, LabelArray, ScalarT
from pipeline.cache import codec
from pipeline.cache.schema import ENSEMBLE
from pipeline.classes import IGNORE
from pipeline.ensemble.regions import NO_MASK
from pipeline.evaluate.metrics import best_class_at, labels_at, resize_nearest
from pipeline.panorama.images import OpenedPanorama, open_full_size
from pipeline.panorama.level import level_image, unlevel_values
from pipeline.panorama.placement import Placement
from pipeline.teacher.unknown import UnknownObjects
from stages.reading import RunReader

_OWN_LABEL = np.float32(1.01)
"""Score of the ensemble's label beside the soft ensemble: at every pixel of the working size the label wins, and
between them the probabilities place the boundary."""


@dataclass(frozen=True)
class CachedMaps:
    """What stage one made of a panorama, as maps of the picture's pixels or, for the working size, of the canvas's."""

    reader: RunReader
    """Reads the panorama."""
    panorama_id: str
    """The panorama."""
    is_original: bool
    """Whether maps have the picture's own size; else the working size, as the networks saw it."""

    @cached_property
    def panorama(self) -> OpenedPanorama:
        """The panorama; at the working size its placement is that of the level canvas.

        Raises:
            InputError, CacheError: as `RunReader.opened`.
        """
        opened = self.reader.opened(self.panorama_id)
        if self.is_original:
            return opened
        level_HW3 = level_image(opened.image_HW3, opened.placement)
        whole = Placement.whole(*level_HW3.shape[:2])
        place = replace(whole, vertical_fov=self.reader.recipe.panorama.vertical_fov)
        return replace(opened, image_HW3=level_HW3, placement=place)

    def picture(self) -> tuple[ImageArray, Image.Image]:
        """(The picture that the maps are of, RGB; the panorama's file, for its tags).

        Raises:
            InputError: the file cannot be read.
        """
        image_hw3, source = open_full_size(self.reader.paths[self.panorama_id])
        return (image_hw3 if self.is_original else self.panorama.image_HW3), source.image

    @cached_property
    def labels_hw(self) -> LabelArray:
        """E: class ids, IGNORE where nothing was seen."""
        if not self.is_original:
            return self._ensemble["ensemble_labels"]
        return self._on_picture(self.level_labels, IGNORE)

    def level_labels(self, height: int, width: int) -> LabelArray:
        """E on the level canvas at a size: as it is cached at the working size, and enlarged between its pixels."""
        labels_HW = self._ensemble["ensemble_labels"]
        if labels_HW.shape == (height, width):
            return labels_HW
        ignored_HW = labels_HW == IGNORE
        scores_CHW = codec.decode_probabilities(self._ensemble["ensemble_probabilities"])
        rows, columns = np.nonzero(~ignored_HW)
        scores_CHW[labels_HW[rows, columns], rows, columns] += _OWN_LABEL
        canvas_HW = labels_at(scores_CHW, height, width)
        canvas_HW[resize_nearest(ignored_HW, height, width)] = IGNORE
        return canvas_HW

    @property
    def assistant_hw(self) -> LabelArray:
        """What the assistant says, its views blended: class ids, IGNORE where nothing was seen."""
        scores_CHW = self.reader.probabilities(self.panorama_id)
        if self.is_original:
            found_hw = self._on_picture(lambda *size: labels_at(scores_CHW, *size), IGNORE)
        else:
            found_hw = labels_at(scores_CHW, *scores_CHW.shape[1:])
        return np.where(self.labels_hw == IGNORE, np.uint8(IGNORE), found_hw)

    @property
    def agreement_hw(self) -> npt.NDArray[np.uint8]:
        """Share of several assistants that give a pixel the class of their mean, as 0..255; 0 where nothing was
        seen."""
        number = len(self.reader.recipe.assistants)
        agreeing_HW = self.reader.agreeing(self.panorama_id)
        if self.is_original:
            agreeing_HW = self._on_picture(lambda *size: resize_nearest(agreeing_HW, *size), 0)
        share_hw = np.rint(255 * (agreeing_HW / number)).astype(np.uint8)
        return np.where(self.labels_hw == IGNORE, np.uint8(0), share_hw)

    @cached_property
    def reliable_hw(self) -> BoolArray:
        """M: where the ensemble is reliable."""
        reliable_HW = self._ensemble["reliability"].astype(bool)
        if not self.is_original:
            return reliable_HW
        return self._on_picture(lambda *size: _enlarged(reliable_HW, *size) >= 0.5, 0) & (self.labels_hw != IGNORE)

    @property
    def reliable_labels_hw(self) -> LabelArray:
        """E_H: the ensemble where it is reliable, else IGNORE."""
        return np.where(self.reliable_hw, self.labels_hw, np.uint8(IGNORE))

    @property
    def confidence_hw(self) -> npt.NDArray[np.uint8]:
        """Probability of the most probable class of the soft ensemble, as 0..255; 0 where nothing was seen."""
        best_HW = np.rint(255 * self._best_HW).astype(np.uint8)
        if self.is_original:
            best_HW = self._on_picture(lambda *size: np.rint(_enlarged(best_HW, *size)).astype(np.uint8), 0)
        return np.where(self.labels_hw == IGNORE, np.uint8(0), best_HW)

    @property
    def masks_hw(self) -> npt.NDArray[np.int32]:
        """SAM's masks as ids, NO_MASK where there is none; small masks lie on top."""
        masks_HW = self.reader.mask_map(self.panorama_id)
        if not self.is_original:
            return masks_HW
        outside = int(NO_MASK)
        return self._on_picture(lambda *size: resize_nearest(masks_HW, *size), outside)

    @cached_property
    def unknown(self) -> UnknownObjects:
        """Objects that no class describes, at the working size."""
        return self.reader.unknown(self.panorama_id)

    @property
    def unknown_hw(self) -> npt.NDArray[np.uint16]:
        """Their numbers, from 1; 0 for none."""
        numbers_HW = self.unknown.numbers_HW
        if not self.is_original:
            return numbers_HW
        return self._on_picture(lambda *size: resize_nearest(numbers_HW, *size), 0)

    @property
    def canvas_confidence_HW(self) -> FloatArray:
        """Probability of the most probable class on the camera's canvas, at the working size."""
        place = self.panorama.placement
        return unlevel_values(self._best_HW, place, outside=0)

    @cached_property
    def _best_HW(self) -> FloatArray:
        return codec.decode_probabilities(self._ensemble["ensemble_probabilities"]).max(axis=0)

    @cached_property
    def _ensemble(self) -> dict[str, npt.NDArray[Any]]:
        wanted = ("ensemble_labels", "ensemble_probabilities", "reliability")
        return self.reader.read(ENSEMBLE, self.panorama_id, wanted)

    def _on_picture(self, at_size: Callable[[int, int], npt.NDArray[ScalarT]], outside: int) -> npt.NDArray[ScalarT]:
        """Values of the picture's pixels, from those of the level canvas at the picture's scale."""
        place = self.panorama.placement
        return place.cut(unlevel_values(at_size(place.canvas_height, place.canvas_width), place, outside))


def _enlarged(values_HW: npt.NDArray[Any], height: int, width: int) -> FloatArray:
    """Numbers resized bilinearly, columns wrapping."""
    return best_class_at(values_HW[None].astype(np.float32), height, width)[1]
