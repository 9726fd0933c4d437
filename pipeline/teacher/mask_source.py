"""Sources of masks, behind one small interface: all that stage one knows of SAM.

The implementations are our generator over segment_anything (`sam`), segment_anything's own (`stock_masks`) and networks
of transformers (`promptable`). A source's own imports happen when it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet


class MaskSource(Protocol):
    """A frozen network that finds class-agnostic masks."""

    @property
    def identity(self) -> str:
        """Kind, name and content hash of the weights, for fingerprints."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about its work so far, a sentence each; most runs have none."""
        ...

    def many(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[MaskSet]:
        """Masks of each of several RGB images [h, w, 3] of any sizes, in their order; a set may be empty.

        Raises:
            WeightsError: the network gives NaN or infinity.
            DeviceMemoryError: a GPU's memory is too small for one image, prompt or mask.
        """
        ...


def load_mask_source(config: SamConfig, device: torch.device) -> MaskSource:
    """The mask source that `config` names, ready to use.

    Raises:
        WeightsError: its weights are missing, broken, or of another kind.
    """
    if config.kind == "stock":
        from pipeline.teacher.stock_masks import load_stock_masks

        return load_stock_masks(config, device)
    if config.kind == "transformers":
        from pipeline.teacher.promptable import load_promptable

        return load_promptable(config, device)
    from pipeline.teacher.sam import load_mask_generator

    return load_mask_generator(config, device)
