"""On a GPU: windows per second, their share of what the arithmetic allows, memory, and how often counts differ.

Not yet run on a GPU: figures are skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from scripts.bench.answers import invent
from scripts.bench.figure import Figure, now, race, skipped
from scripts.bench.masks import STOCK, TOLD, photograph
from scripts.bench.quality import count_differences
from scripts.bench.sams import our_masks, stock_masks
from scripts.bench.setup import Setup

ENCODER_FLOPS = {"vit_b": 972e9, "vit_h": 5961e9}
"""Stock encoders, one window of 1024x1024."""
DECODER_FLOPS = 3.62e9
"""Stock decoder, one point."""
CASES = {
    f"GPU {size} {points}x{points} {name}": (size, points, precision)
    for size in ENCODER_FLOPS
    for points in (16, 32)
    for name, precision in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
}
NAMES = tuple(CASES)


def gpu_figures(setup: Setup) -> Iterator[Figure]:
    """Stock and ours per case; the note has windows per second and the rest."""
    wanted = [name for name in NAMES if name in setup.wanted]
    if wanted and not setup.device.startswith("cuda"):
        yield skipped(f"{len(wanted)} figures named GPU", STOCK, "the device is no GPU")
        return
    for name in wanted:
        yield _figure(setup, name, *CASES[name])


def _figure(setup: Setup, name: str, size: str, points: int, precision: torch.dtype) -> Figure:
    sam = setup.build_sam(size).to(setup.device)
    answers = invent(points, 4 * sam.prompt_encoder.image_embedding_size[0], device=setup.device)
    image = photograph(sam.image_encoder.img_size)
    ours = our_masks(sam, answers, points, image, precision)
    peak = _peak_memory(ours, setup.device)
    laps = race({"stock": stock_masks(sam, answers, points, image), "ours": ours}, setup.repeats, setup.device)
    limit = _arithmetic(setup.device, precision) / (ENCODER_FLOPS[size] + points**2 * DECODER_FLOPS)
    rate = 1 / laps["ours"].seconds
    note = (
        f"{rate:.1f} windows/s, {rate / limit:.0%} of the {limit:.0f} that the stock's arithmetic allows in this "
        f"precision; peak memory {peak / 2**30:.1f} GiB; {count_differences(precision, setup.device)}; {TOLD}"
    )
    return Figure(name, STOCK, laps["stock"].seconds, laps["ours"].seconds, note=note)


def _peak_memory(run: Any, device: str) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return torch.cuda.max_memory_allocated(device)


def _arithmetic(device: str, precision: torch.dtype, side: int = 8192, times: int = 20) -> float:
    """Floating-point operations per second that a large product of matrices reaches."""
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    _ = a @ b
    started = now(device)
    for _ in range(times):
        _ = a @ b
    return times * 2 * side**3 / (now(device) - started)
