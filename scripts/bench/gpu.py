"""On a GPU: windows per second, their share of what the FLOPs allow, memory, and how often counts differ.

Our generator gets a batch of windows, as stage one gives it a panorama's; the stock generator takes one at a time.
Not yet run on a GPU: figures are skipped where there is none. By estimate the four of one size of SAM take an H200
three to six minutes: `--only "GPU vit_b"`, then `--only "GPU vit_h"`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from segment_anything.modeling import Sam

from scripts.bench.decoder_outputs import synthetic_outputs
from scripts.bench.figure import Figure, now, skipped, time_interleaved
from scripts.bench.machine import exact_convolutions
from scripts.bench.masks import FIXED_OUTPUTS, STOCK, noise_picture
from scripts.bench.quality import count_differences
from scripts.bench.sams import our_masks_of_many, stock_masks
from scripts.bench.setup import Setup

ENCODER_FLOPS = {"vit_b": 972e9, "vit_h": 5961e9}
"""Stock encoders, one window of 1024x1024."""
DECODER_FLOPS = 3.62e9
"""Stock decoder, one point."""
TARGET = 0.4
"""Share of the windows per second that the stock generator's FLOPs allow."""


class Case(NamedTuple):
    """One figure."""

    size: str
    """Of the SAM."""
    points: int
    """Prompts per side."""
    precision: torch.dtype
    """Of ours."""

    @property
    def flops(self) -> float:
        """Operations of the stock generator's networks for one window."""
        return ENCODER_FLOPS[self.size] + self.points**2 * DECODER_FLOPS


class Workload(NamedTuple):
    """How much is measured."""

    windows: int = 32
    """Windows per batch."""
    counted: int = 192
    """Windows whose numbers of masks are compared."""
    product: int = 8192
    """Side of the matrices that measure the device's FLOPs."""


CASES = {
    f"GPU {size} {points}x{points} {name}": Case(size, points, precision)
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
    for size in ENCODER_FLOPS:
        names = [name for name in wanted if CASES[name].size == size]
        if names:
            sam = setup.build_sam(size).to(setup.device)
            for name in names:
                yield case_figure(setup, name, CASES[name], sam)


def case_figure(setup: Setup, name: str, case: Case, sam: Sam, workload: Workload | None = None) -> Figure:
    """Seconds per window, stock and ours, of networks with the same decoder outputs."""
    workload = workload or Workload()
    outputs = synthetic_outputs(case.points, 4 * sam.prompt_encoder.image_embedding_size[0], device=setup.device)
    image = noise_picture(sam.image_encoder.img_size)
    with exact_convolutions(case.precision):
        ours = our_masks_of_many(sam, outputs, case.points, [image] * workload.windows, case.precision)
        peak = peak_memory(ours, setup.device)
        stock = stock_masks(sam, outputs, case.points, image)
        timings = time_interleaved({"stock": stock, "ours": ours}, setup.repeats, setup.device)
        limit = measured_flops(setup.device, case.precision, workload.product) / case.flops
        counts = count_differences(case.precision, setup.device, workload.counted)
    seconds = timings["ours"].seconds / workload.windows
    share = 1 / (seconds * limit)
    note = (
        f"{1 / seconds:.1f} windows/s, {share:.0%} (target: {TARGET:.0%}) of the {limit:.0f} that the "
        f"stock generator's FLOPs allow in this precision; {len(timings['ours'].result[0])} masks each, the stock "
        f"generator's {len(timings['stock'].result)}; peak memory {peak}; {counts}; {FIXED_OUTPUTS}"
    )
    return Figure(name, STOCK, timings["stock"].seconds, seconds, note=note)


def peak_memory(run: Callable[[], Any], device: str) -> str:
    """The most that torch held at a time during a run, the weights included; not known of a CPU."""
    if not device.startswith("cuda"):
        run()
        return "not counted"
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


def measured_flops(device: str, precision: torch.dtype, side: int, times: int = 20) -> float:
    """Floating-point operations per second that a large product of matrices reaches."""
    a, b = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    _ = a @ b
    started = now(device)
    for _ in range(times):
        _ = a @ b
    return times * 2 * side**3 / (now(device) - started)
