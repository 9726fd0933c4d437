"""Networks that a process keeps between calls."""

from __future__ import annotations

from functools import lru_cache

import torch

from pipeline.teacher.config import SamConfig
from pipeline.teacher.mask_source import MaskSource, load_mask_source
from stages.devices import choose_device


def mask_source(config: SamConfig, device: str) -> MaskSource:
    """The SAM of these settings on a device; that of the last call is kept.

    Raises:
        RecipeError: there is no such device.
        WeightsError: as `load_mask_source`.
    """
    return _loaded(config, choose_device(device))


@lru_cache(maxsize=1)
def _loaded(config: SamConfig, device: str) -> MaskSource:
    return load_mask_source(config, torch.device(device))
