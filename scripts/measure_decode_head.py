"""How long the demo's assistant takes with its decode head in the quicker order, beside transformers' own.

    python -m scripts.measure_decode_head [--threads 1]

Random images of the demo's windows and whole panoramas, in turn in one process: medians of CPU time, and the share of
pixels that get the same label.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.segformer import segment
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.assistant_transformers import TransformersAssistant
from stages.runs import open_recipe

SHAPES = {"4 windows": (4, 3, 384, 384), "the whole panorama": (1, 3, 512, 1152)}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    assistant = load_assistant(open_recipe("demo").assistant, torch.device("cpu"))
    assert isinstance(assistant, TransformersAssistant)
    network = assistant.network
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "transformers": lambda pixels: network(pixel_values=pixels, output_hidden_states=True).logits,
        "quicker": lambda pixels: segment(network, pixels)[0],  # pyright: ignore[reportArgumentType]
    }
    print("| input | transformers, s | quicker, s | equal labels |\n|---|---|---|---|")
    for name, shape in SHAPES.items():
        pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        labels: dict[str, Tensor] = {}
        for _ in range(options.times):
            for way, run in ways.items():
                began = time.process_time()
                with torch.no_grad():
                    labels[way] = run(pixels).argmax(dim=1)
                seconds[way].append(time.process_time() - began)
        equal = (labels["transformers"] == labels["quicker"]).float().mean().item()
        medians = " | ".join(f"{statistics.median(seconds[way]):.2f}" for way in ways)
        print(f"| {name} | {medians} | {equal:.5f} |")


if __name__ == "__main__":
    main()
