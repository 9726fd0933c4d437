"""The assistant in bfloat16 beside itself in float32, as stage one asks it: windows and the panorama whole.

Legend: C classes, H W panorama.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.rectification import AssistantPrediction, stitch_assistant
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from scripts.bench.figure import Figure, skipped, time_interleaved
from scripts.bench.machine import has_fast_bfloat16
from scripts.bench.setup import Setup
from stages.runs import open_recipe
from stages.views import assistant_views, shared_views

NAME = "assistant bfloat16"
NAMES = (NAME,)


def assistant_figures(setup: Setup) -> Iterator[Figure]:
    """One panorama of the demo, seconds."""
    if NAME not in setup.wanted:
        return
    peer = "the same in float32"
    if setup.device == "cpu" and not has_fast_bfloat16():
        yield skipped(NAME, peer, "the CPU has neither AMX nor AVX-512 for bfloat16")
        return
    recipe = open_recipe("demo")
    height, width = recipe.panorama.height, recipe.panorama.width
    image_HW3 = render_panorama(build_scene(MODEL_VALIDATION[0]), height, width).image_HW3
    windows, views = shared_views(recipe), assistant_views(recipe)

    def ask(precision: str) -> AssistantPrediction:
        return stitch_assistant(
            image_HW3, windows, assistants[precision], recipe.assistant, recipe.classes, more_views=views
        )

    device = torch.device(setup.device)
    assistants = {
        precision: load_assistant(replace(recipe.assistant, precision=precision), device)
        for precision in ("float32", "bfloat16")
    }
    timings = time_interleaved(
        {"exact": lambda: ask("float32"), "bfloat16": lambda: ask("bfloat16")}, setup.repeats, setup.device
    )
    exact_HW, bfloat16_HW = (timings[name].result.assistant_CHW.argmax(axis=0) for name in ("exact", "bfloat16"))
    note = (
        f"the demo's assistant and windows, one panorama; {(exact_HW != bfloat16_HW).mean():.2%} of the labels differ"
    )
    yield Figure(NAME, peer, timings["exact"].seconds, timings["bfloat16"].seconds, note=note)
