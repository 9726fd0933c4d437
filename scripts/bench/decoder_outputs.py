"""Decoder outputs like those of a trained SAM, for networks of random weights, whose own outputs are noise.

A synthetic scene: each prompt belongs to the nearest of some objects and gets the masks of its part, whole and
surroundings, three nested blobs with edges as steep as SAM's; prompts on one object get nearly the same masks. The
networks run for as long as they take, then their outputs are replaced by these, so that there are as many masks and
duplicates as with trained weights.

Legend: P prompts, O objects, K wanted masks, h w the grid of the low-resolution logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OBJECTS = 81
STEEPNESS = 4.0
"""Logits per low-resolution pixel at the edge of an object."""
PASSING = 0.4
"""Share of the masks whose predicted IoU exceeds 0.88, the stock threshold."""
NESTED = (0.5, 1.0, 2.0)
"""Sizes of part, whole and surroundings."""


@dataclass(frozen=True)
class DecoderOutputs:
    """Logits and predicted IoU per prompt of a grid, in the grid's order."""

    shapes_O3hw: Tensor
    """Logits of the objects."""
    object_P: Tensor
    """The object that each prompt lies on."""
    shift_P3: Tensor
    """What each prompt adds to its object's logits: no two outputs are quite equal."""
    predicted_iou_P3: Tensor
    """SAM's estimate of each mask's IoU, 0..1."""

    def logits(self, prompts_K: Tensor, masks_K: Tensor) -> Tensor:
        """Logits [K, h, w]."""
        return self.shapes_O3hw[self.object_P[prompts_K], masks_K] + self.shift_P3[prompts_K, masks_K][:, None, None]

    def all_logits(self, prompts_P: Tensor) -> Tensor:
        """Logits [P, 3, h, w]."""
        return self.shapes_O3hw[self.object_P[prompts_P]] + self.shift_P3[prompts_P][:, :, None, None]


def synthetic_outputs(
    points_per_side: int, grid: int, *, full_frame: bool = False, device: str = "cpu", seed: int = 0,
    steepness: float = STEEPNESS,
) -> DecoderOutputs:  # fmt: skip
    """DecoderOutputs to a square grid of prompts.

    Args:
        points_per_side: prompts per side.
        grid: h = w of the logits.
        full_frame: give every mask a speck in two opposite corners, so that it reaches over the whole frame.
        device: torch device of the outputs.
        seed: of the scene.
        steepness: logits per low-resolution pixel at edges; on small grids stable masks need more.
    """
    generator = torch.Generator().manual_seed(seed)
    centres_O2 = torch.rand(OBJECTS, 2, generator=generator)
    shapes_O3hw = _blobs(centres_O2 * grid, grid, steepness, generator)
    if full_frame:
        shapes_O3hw[..., :3, :3] = shapes_O3hw[..., -3:, -3:] = 10.0
    line = (torch.arange(points_per_side) + 0.5) / points_per_side
    points_P2 = torch.cartesian_prod(line, line).flip(1)  # (x, y), x running fastest
    object_P = torch.cdist(points_P2, centres_O2).argmin(1)
    shift_P3 = 0.15 * torch.randn(len(points_P2), 3, generator=generator)
    chance_P3 = torch.rand(len(points_P2), 3, generator=generator)
    good, poor = 0.885 + 0.11 * chance_P3 / PASSING, 0.87 * (1 - chance_P3)
    predicted_iou_P3 = torch.where(chance_P3 < PASSING, good, poor)
    return DecoderOutputs(*(part.to(device) for part in (shapes_O3hw, object_P, shift_P3, predicted_iou_P3)))


def _blobs(centres_O2: Tensor, grid: int, steepness: float, generator: torch.Generator) -> Tensor:
    """Logits [O, 3, h, w] of nested blobs: discs whose radius swings with the direction."""
    pixels = torch.arange(grid) + 0.5
    away_y, away_x = torch.meshgrid(pixels, pixels, indexing="ij")
    shapes = torch.empty(len(centres_O2), len(NESTED), grid, grid)
    for shape, (x, y) in zip(shapes, centres_O2.tolist(), strict=True):
        size, lobes, swing, turn = torch.rand(4, generator=generator).tolist()
        radius = grid * (0.025 + 0.12 * size)
        angle = torch.atan2(away_y - y, away_x - x)
        outline = radius * (1 + 0.25 * swing * torch.sin((2 + int(4 * lobes)) * angle + 6.28 * turn))
        distance = torch.hypot(away_x - x, away_y - y)
        for own, scale in zip(shape, NESTED, strict=True):
            own.copy_((steepness * (scale * outline - distance)).clamp(-20, 15))
    return shapes
