"""A small panorama, ways to see it, and an assistant whose prediction depends on every pixel that it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipeline.arrays import ImageArray
from pipeline.classes import DENSEPASS_13, LabelSet
from pipeline.panorama.config import PanoramaConfig, ViewsConfig, WindowConfig
from pipeline.teacher.assistant import AssistantOutput

SIZE = PanoramaConfig(width=128)
WINDOWS = WindowConfig(64, 64, 32, 32)
VIEWS = ViewsConfig(level=4, down=3, up=0, nadir=1, zenith=0, fov=80, size=32)


class Colours:
    """An assistant whose logits are averages of colours, so that they depend on the image that it is shown."""

    label_set: LabelSet = DENSEPASS_13
    feature_levels = ()
    identity = "colours"
    notes = ()

    def __call__(self, images_KHW3: ImageArray, levels: Sequence[int] = ()) -> AssistantOutput:
        colours = torch.from_numpy(images_KHW3.astype(np.float32)).permute(0, 3, 1, 2) / 32
        pooled = torch.nn.functional.avg_pool2d(colours, 4, ceil_mode=True)
        mixed = torch.einsum("cd,kdhw->kchw", torch.linspace(-1, 1, 39).reshape(13, 3), pooled)
        return AssistantOutput(mixed, {})


def image() -> ImageArray:
    return np.random.default_rng(0).integers(0, 256, (SIZE.height, SIZE.width, 3)).astype(np.uint8)
