"""Automatic masks: ours beside the stock generator and transformers' pipeline, and post-processing alone.

Legend: H W image, S side of the encoder's square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from segment_anything.modeling import Sam

from pipeline.teacher.generator.decoder import fastest_decoder
from scripts.bench.decoder_outputs import DecoderOutputs, synthetic_outputs
from scripts.bench.figure import CPU_SECONDS, Figure, Timing, skipped, time_interleaved
from scripts.bench.machine import exact_convolutions, has_fast_bfloat16
from scripts.bench.quality import bfloat16_quality
from scripts.bench.sams import Picture, equal_masks, fixed_output_sam, our_masks, stock_masks, transformers_masks
from scripts.bench.setup import Setup

STOCK = "SamAutomaticMaskGenerator"
TRANSFORMERS = "transformers' mask-generation pipeline"
FIXED_OUTPUTS = "networks of random weights run, then their outputs are replaced by ones like trained weights give"


class Grid(NamedTuple):
    """Target speed-ups for one number of points per side."""

    points: int
    exact: float
    bfloat16: float


GRIDS = (Grid(16, 2.5, 5.5), Grid(32, 3.8, 7.0))
TRANSFORMERS_TARGET = 2.5
POST_TARGETS = {"post-processing": 30.0, "post-processing, full frame": 10.0}
NAMES = (
    *(f"masks {grid.points}x{grid.points}{kind}" for grid in GRIDS for kind in ("", " bfloat16")),
    "masks 16x16 transformers",
    *POST_TARGETS,
)


def mask_figures(setup: Setup) -> Iterator[Figure]:
    """Whole generators, then post-processing alone."""
    for grid in GRIDS:
        yield from _generators(setup, grid)
    for name, target in POST_TARGETS.items():
        if name in setup.wanted:
            yield _post_processing(setup, name, target)


def _generators(setup: Setup, grid: Grid) -> Iterator[Figure]:
    """All generators that are wanted for one grid, timed in turn."""
    exact = f"masks {grid.points}x{grid.points}"
    bfloat16, other = f"{exact} bfloat16", f"{exact} transformers"
    wanted = {exact, bfloat16, other} & setup.wanted & set(NAMES)
    if bfloat16 in wanted and setup.device == "cpu" and not has_fast_bfloat16():
        yield skipped(bfloat16, STOCK, "the CPU has neither AMX nor AVX-512 for bfloat16", grid.bfloat16)
        wanted -= {bfloat16}
    if not wanted:
        return
    sam = setup.build_sam("vit_b").to(setup.device)
    outputs = synthetic_outputs(grid.points, 4 * sam.prompt_encoder.image_embedding_size[0], device=setup.device)
    image = noise_picture(sam.image_encoder.img_size)
    timings = time_interleaved(
        _candidates(sam, outputs, grid.points, image, wanted), setup.repeats, setup.device, warm_up=False
    )
    if exact in wanted:
        yield _exact_figure(exact, grid, timings, sam)
    if bfloat16 in wanted:
        yield bfloat16_figure(bfloat16, grid, timings, setup.device)
    if other in wanted:
        peer, ours = timings["transformers"], timings["ours"]
        found = f"{len(peer.result['masks'])} masks, ours {len(ours.result)}; {FIXED_OUTPUTS}"
        yield Figure(other, TRANSFORMERS, peer.seconds, ours.seconds, TRANSFORMERS_TARGET, note=found)


def _candidates(
    sam: Sam, outputs: DecoderOutputs, points: int, image: Picture, wanted: set[str]
) -> dict[str, Callable[[], Any]]:
    name = f"masks {points}x{points}"
    candidates: dict[str, Callable[[], Any]] = {}
    if wanted & {name, f"{name} bfloat16"}:
        candidates["stock"] = stock_masks(sam, outputs, points, image)
    if wanted & {name, f"{name} transformers"}:
        candidates["ours"] = our_masks(sam, outputs, points, image)
    if f"{name} bfloat16" in wanted:
        candidates["bfloat16"] = our_masks(sam, outputs, points, image, torch.bfloat16)
    if f"{name} transformers" in wanted:
        candidates["transformers"] = transformers_masks(outputs, points, image)
    return candidates


def _exact_figure(name: str, grid: Grid, timings: dict[str, Timing], sam: Sam) -> Figure:
    stock, ours = timings["stock"], timings["ours"]
    deviation = f"as they are, logits differ by {decoder_deviation(sam):.1e} of their range"
    note = f"{len(ours.result)} masks; {FIXED_OUTPUTS}; {deviation}"
    identical = equal_masks(stock.result, ours.result)
    return Figure(name, STOCK, stock.seconds, ours.seconds, grid.exact, identical, note)


def bfloat16_figure(name: str, grid: Grid, timings: dict[str, Timing], device: str) -> Figure:
    """The figure of bfloat16 beside the stock generator, whose results it does not equal exactly."""
    note = f"{FIXED_OUTPUTS}; {bfloat16_quality(device)}"
    return Figure(name, STOCK, timings["stock"].seconds, timings["bfloat16"].seconds, grid.bfloat16, note=note)


def _post_processing(setup: Setup, name: str, target: float) -> Figure:
    side, points = 1024, 16
    outputs = synthetic_outputs(points, side // 4, full_frame="full" in name)
    sam, image = fixed_output_sam(outputs, side), noise_picture(side)
    timings = time_interleaved({
        "stock": stock_masks_alone(sam, points, image),
        "ours": our_masks_alone(sam, points, image),
    }, setup.repeats)  # fmt: skip
    stock, ours = timings["stock"], timings["ours"]
    note = f"{len(ours.result)} masks; encoder and decoder take no time; {CPU_SECONDS}"
    return Figure(name, STOCK, stock.seconds, ours.seconds, target, equal_masks(stock.result, ours.result), note)


def stock_masks_alone(sam: Sam, points: int, image: Picture) -> Callable[[], list[dict[str, Any]]]:
    """The stock generator around a SAM as it is."""
    from segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(sam, points_per_side=points)
    return lambda: generator.generate(image)


def our_masks_alone(sam: Sam, points: int, image: Picture) -> Callable[[], Any]:
    """Our generator around a SAM as it is."""
    from pipeline.teacher.generator.generator import AutomaticMaskGenerator

    generator = AutomaticMaskGenerator(sam, points)
    return lambda: generator.generate(image)


def decoder_deviation(sam: Sam, points: int = 2) -> float:
    """Largest difference of the logits of both decoders, nothing replaced, as a share of the logits' range."""
    side = sam.image_encoder.img_size
    embedding = torch.randn(1, sam.prompt_encoder.embed_dim, *sam.prompt_encoder.image_embedding_size)
    embedding = embedding.to(sam.device)
    points_P2 = (torch.rand(points, 2, dtype=torch.float64) * side).to(sam.device)
    decoder = fastest_decoder(sam)
    ours = decoder.decode(decoder.prepare(embedding), points_P2, None).logits_Khw
    labels = torch.ones(points, 1, dtype=torch.int, device=sam.device)
    with torch.no_grad(), exact_convolutions(torch.float32):
        sparse, dense = sam.prompt_encoder(points=(points_P2[:, None], labels), boxes=None, masks=None)
        stock, _ = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    stock = stock.flatten(0, 1)
    return float((ours - stock).abs().max() / (stock.max() - stock.min()))


def noise_picture(side: int) -> Picture:
    """A square picture [S, S, 3] of smooth noise; what it shows does not matter, its size does."""
    coarse = np.random.default_rng(0).integers(0, 256, (side // 32 or 1, side // 32 or 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((32, 32, 1), np.uint8))[:side, :side])
