"""Automatic masks: ours beside the stock generator and transformers' pipeline, and post-processing alone.

Legend: H W image, S side of the encoder's square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from segment_anything.modeling import Sam

from pipeline.teacher.generator.decoder import fold_decoder
from scripts.bench.answers import Answers, invent
from scripts.bench.figure import CPU_SECONDS, Figure, Lap, race, skipped
from scripts.bench.machine import exact_convolutions, has_fast_bfloat16
from scripts.bench.quality import bfloat16_quality
from scripts.bench.sams import Picture, equal_masks, our_masks, stock_masks, told_sam, transformers_masks
from scripts.bench.setup import Setup

STOCK = "SamAutomaticMaskGenerator"
TRANSFORMERS = "transformers' mask-generation pipeline"
TOLD = "the networks of random weights run, then are told answers as trained ones give them"


class Grid(NamedTuple):
    """The aims for one number of points per side."""

    points: int
    exact: float
    bfloat16: float


GRIDS = (Grid(16, 2.5, 5.5), Grid(32, 3.8, 7.0))
TRANSFORMERS_AIM = 2.5
POST_AIMS = {"post-processing": 30.0, "post-processing, full frame": 10.0}
NAMES = (
    *(f"masks {grid.points}x{grid.points}{kind}" for grid in GRIDS for kind in ("", " bfloat16")),
    "masks 16x16 transformers",
    *POST_AIMS,
)


def mask_figures(setup: Setup) -> Iterator[Figure]:
    """Whole generators, then post-processing alone."""
    for grid in GRIDS:
        yield from _generators(setup, grid)
    for name, aim in POST_AIMS.items():
        if name in setup.wanted:
            yield _post_processing(setup, name, aim)


def _generators(setup: Setup, grid: Grid) -> Iterator[Figure]:
    """All generators that are wanted for one grid, in one race."""
    exact = f"masks {grid.points}x{grid.points}"
    rough, other = f"{exact} bfloat16", f"{exact} transformers"
    wanted = {exact, rough, other} & setup.wanted & set(NAMES)
    if rough in wanted and setup.device == "cpu" and not has_fast_bfloat16():
        yield skipped(rough, STOCK, "the CPU has neither AMX nor AVX-512 for bfloat16", grid.bfloat16)
        wanted -= {rough}
    if not wanted:
        return
    sam = setup.build_sam("vit_b").to(setup.device)
    answers = invent(grid.points, 4 * sam.prompt_encoder.image_embedding_size[0], device=setup.device)
    image = photograph(sam.image_encoder.img_size)
    laps = race(_contestants(sam, answers, grid.points, image, wanted), setup.repeats, setup.device, warm_up=False)
    if exact in wanted:
        yield _exact_figure(exact, grid, laps, sam)
    if rough in wanted:
        yield rough_figure(rough, grid, laps, setup.device)
    if other in wanted:
        peer, ours = laps["transformers"], laps["ours"]
        found = f"{len(peer.result['masks'])} masks, ours {len(ours.result)}; {TOLD}"
        yield Figure(other, TRANSFORMERS, peer.seconds, ours.seconds, TRANSFORMERS_AIM, note=found)


def _contestants(
    sam: Sam, answers: Answers, points: int, image: Picture, wanted: set[str]
) -> dict[str, Callable[[], Any]]:
    name = f"masks {points}x{points}"
    contestants: dict[str, Callable[[], Any]] = {}
    if wanted & {name, f"{name} bfloat16"}:
        contestants["stock"] = stock_masks(sam, answers, points, image)
    if wanted & {name, f"{name} transformers"}:
        contestants["ours"] = our_masks(sam, answers, points, image)
    if f"{name} bfloat16" in wanted:
        contestants["rough"] = our_masks(sam, answers, points, image, torch.bfloat16)
    if f"{name} transformers" in wanted:
        contestants["transformers"] = transformers_masks(answers, points, image)
    return contestants


def _exact_figure(name: str, grid: Grid, laps: dict[str, Lap], sam: Sam) -> Figure:
    stock, ours = laps["stock"], laps["ours"]
    note = f"{len(ours.result)} masks; {TOLD}; untold, logits differ by {decoder_deviation(sam):.1e} of their range"
    identical = equal_masks(stock.result, ours.result)
    return Figure(name, STOCK, stock.seconds, ours.seconds, grid.exact, identical, note)


def rough_figure(name: str, grid: Grid, laps: dict[str, Lap], device: str) -> Figure:
    """The figure of bfloat16 beside the stock generator, whose results it does not equal exactly."""
    note = f"{TOLD}; {bfloat16_quality(device)}"
    return Figure(name, STOCK, laps["stock"].seconds, laps["rough"].seconds, grid.bfloat16, note=note)


def _post_processing(setup: Setup, name: str, aim: float) -> Figure:
    side, points = 1024, 16
    answers = invent(points, side // 4, full_frame="full" in name)
    sam, image = told_sam(answers, side), photograph(side)
    laps = race({
        "stock": stock_masks_alone(sam, points, image),
        "ours": our_masks_alone(sam, points, image),
    }, setup.repeats)  # fmt: skip
    stock, ours = laps["stock"], laps["ours"]
    note = f"{len(ours.result)} masks; encoder and decoder take no time; {CPU_SECONDS}"
    return Figure(name, STOCK, stock.seconds, ours.seconds, aim, equal_masks(stock.result, ours.result), note)


def stock_masks_alone(sam: Sam, points: int, image: Picture) -> Callable[[], list[dict[str, Any]]]:
    """The stock generator, with nothing told beyond what the SAM itself says."""
    from segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(sam, points_per_side=points)
    return lambda: generator.generate(image)


def our_masks_alone(sam: Sam, points: int, image: Picture) -> Callable[[], Any]:
    """Ours likewise."""
    from pipeline.teacher.generator.generator import AutomaticMaskGenerator

    generator = AutomaticMaskGenerator(sam, points)
    return lambda: generator.generate(image)


def decoder_deviation(sam: Sam, points: int = 2) -> float:
    """Largest difference of the logits of both decoders, told nothing, as a share of the logits' range."""
    side = sam.image_encoder.img_size
    embedding = torch.randn(1, sam.prompt_encoder.embed_dim, *sam.prompt_encoder.image_embedding_size)
    embedding = embedding.to(sam.device)
    asked = (torch.rand(points, 2, dtype=torch.float64) * side).to(sam.device)
    decoder = fold_decoder(sam)
    ours = decoder.decode(decoder.prepare(embedding), asked, None).logits_Khw
    labels = torch.ones(points, 1, dtype=torch.int, device=sam.device)
    with torch.no_grad(), exact_convolutions(torch.float32):
        sparse, dense = sam.prompt_encoder(points=(asked[:, None], labels), boxes=None, masks=None)
        stock, _ = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    stock = stock.flatten(0, 1)
    return float((ours - stock).abs().max() / (stock.max() - stock.min()))


def photograph(side: int) -> Picture:
    """A square picture [S, S, 3] of smooth noise; what it shows does not matter, its size does."""
    coarse = np.random.default_rng(0).integers(0, 256, (side // 32 or 1, side // 32 or 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((32, 32, 1), np.uint8))[:side, :side])
