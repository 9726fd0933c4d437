"""Masks of the only trained SAM at hand, the demo's, on windows of the built-in world: what bfloat16 costs.

Legend: M masks, H W panorama.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.modeling import Sam

from pipeline.panorama.windows import cut, window_grid
from pipeline.teacher.config import SamConfig
from pipeline.teacher.generator.generator import AutomaticMaskGenerator
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import load_sam
from pipeline.teacher.stock_masks import StockMasks
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.runs import open_recipe

Picture = npt.NDArray[np.uint8]


@lru_cache(maxsize=1)
def bfloat16_quality(device: str, windows: int = 4) -> str:
    """One sentence: the share of masks that bfloat16 changes on a device, and how much of them stays."""
    sam, config = _demo_sam(device)
    exact, bfloat16 = (_ours(sam, config, precision) for precision in (torch.float32, torch.bfloat16))
    pairs = [(exact.generate(seen), bfloat16.generate(seen)) for seen in street_windows(windows)]
    best_M = np.concatenate([best_overlaps(*pair) for pair in pairs])
    return (
        f"with the demo's trained SAM {np.mean(best_M < 1):.1%} of {len(best_M)} masks differ from float32, "
        f"mean IoU {best_M.mean():.4f}"
    )


@lru_cache(maxsize=4)
def count_differences(precision: torch.dtype, device: str, windows: int) -> str:
    """One sentence: for how many windows the number of masks is not the stock generator's."""
    sam, config = _demo_sam(device)
    pictures = street_windows(windows)
    found = _ours(sam, config, precision).generate_many(pictures)
    stock = StockMasks(sam, config).many(pictures)
    differing = sum(len(ours) != len(theirs) for ours, theirs in zip(found, stock, strict=True))
    return (
        f"with the demo's trained SAM the number of masks differs for {differing} of {len(pictures)} windows "
        f"({differing / len(pictures):.1%})"
    )


def _demo_sam(device: str) -> tuple[Sam, SamConfig]:
    config = open_recipe("demo").sam
    return load_sam(config, torch.device(device)), config


def _ours(sam: Sam, config: SamConfig, precision: torch.dtype) -> AutomaticMaskGenerator:
    return AutomaticMaskGenerator(sam, **config.generator_settings(), precision=precision)


@lru_cache(maxsize=2)
def street_windows(count: int) -> list[Picture]:
    """Windows of as few panoramas as there must be, out of the middle row, which sees the street."""
    recipe = open_recipe("demo")
    height, width = recipe.panorama.height, recipe.panorama.width
    row = [w for w in window_grid(height, width, recipe.windows) if w.row == recipe.windows.stride_y]
    panoramas = [render_panorama(build_scene(seed), height, width).image_HW3
                 for seed in MODEL_VALIDATION[: -(-count // len(row))]]  # fmt: skip
    chosen = row[:: max(1, len(row) // count)]
    return [np.ascontiguousarray(cut(image_HW3, window)) for image_HW3 in panoramas for window in chosen][:count]


def best_overlaps(masks: MaskSet, others: MaskSet) -> npt.NDArray[np.floating]:
    """For each mask, the IoU with the most similar of the others; 0 where there is none."""
    ours, theirs = (m.dense().reshape(len(m), m.height * m.width).astype(np.float32) for m in (masks, others))
    if len(theirs) == 0:
        return np.zeros(len(ours))
    both = ours @ theirs.T
    return (both / np.maximum(ours.sum(1)[:, None] + theirs.sum(1) - both, 1)).max(axis=1)
