"""Masks by segment_anything's own generator, slowly, for comparison with ours."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from pipeline.finite import require_finite
from pipeline.teacher.config import SamConfig
from pipeline.teacher.identity import mask_source_identity
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import load_sam_and_notes


class StockMasks:
    """`SamAutomaticMaskGenerator` as a `MaskSource`.

    Args:
        sam: the model, on its device.
        config: settings of the generator.
        notes: on its checkpoint, a sentence each.
        identity: see `MaskSource`.
    """

    def __init__(self, sam: Sam, config: SamConfig, notes: Sequence[str] = (), identity: str = "stock") -> None:
        self.identity = identity
        self.notes = tuple(notes)
        self._sam = sam
        self._generator = SamAutomaticMaskGenerator(sam, **config.generator_settings())
        self._turn = Lock()  # it holds state per image, and stage one calls it from several threads on a GPU

    def many(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        """See `MaskSource`; one image after the other."""
        with self._turn:
            hook = self._sam.mask_decoder.register_forward_hook(_require_finite_output)
            try:
                return [self._masks(image_hw3) for image_hw3 in images]
            finally:
                hook.remove()

    def _masks(self, image_hw3: npt.NDArray[np.uint8]) -> MaskSet:
        found = self._generator.generate(np.ascontiguousarray(image_hw3))
        masks = [mask["segmentation"] for mask in found]
        return MaskSet.from_dense(
            np.stack(masks) if masks else np.empty((0, *image_hw3.shape[:2]), np.bool_),
            [mask["predicted_iou"] for mask in found],
            [mask["stability_score"] for mask in found],
        )


def load_stock_masks(config: SamConfig, device: torch.device) -> StockMasks:
    """The stock generator around the SAM of a recipe.

    Raises:
        WeightsError: as `load_sam`.
    """
    sam, notes = load_sam_and_notes(config, device)
    return StockMasks(sam, config, notes, mask_source_identity(config))


def _require_finite_output(_decoder: torch.nn.Module, _inputs: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
    for numbers in output:
        require_finite(numbers, "SAM")
