"""How long MobileSAM takes for a window beside SAM ViT-B, on one thread.

    python -m scripts.measure_mobile_sam [--times 3]

Random weights, on which the time of these parts does not depend, in turn in one process: medians of CPU time of a
window's embedding and of 64 prompts (a grid of 8 x 8) up to their low-resolution masks. What follows, scaling the masks
up and filtering them, is the same for both and depends on how many masks there are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from pipeline.precision import chosen_precision
from pipeline.teacher.generator.decoder import fastest_decoder
from pipeline.teacher.generator.encoder import FastEncoder
from pipeline.teacher.mobile_sam import SIZE, build_mobile_sam

PARTS = ("embedding", "64 prompts")
PROMPTS = 64


def seconds(sam: Sam, precision: torch.dtype, image_13SS: Tensor, points_P2: Tensor) -> tuple[float, float]:
    """CPU seconds of (the embedding of an image, the masks of its prompts)."""
    encoder, decoder = FastEncoder(sam.image_encoder, precision), fastest_decoder(sam, precision)
    began = time.process_time()
    embedding = encoder(image_13SS)
    embedded = time.process_time()
    decoder.decode(decoder.prepare(embedding), points_P2, None)
    return embedded - began, time.process_time() - embedded


def table(found: Mapping[tuple[str, str], list[tuple[float, float]]]) -> str:
    """Medians as Markdown, by model and precision."""
    lines = [f"| model | precision | {' | '.join(f'{part}, s' for part in PARTS)} | together, s |",
             "| --- | --- | ---: | ---: | ---: |"]  # fmt: skip
    for (model, precision), times in found.items():
        medians = [statistics.median(own) for own in zip(*times, strict=True)]
        lines.append(f"| {model} | {precision} | {' | '.join(f'{s:.2f}' for s in (*medians, sum(medians)))} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    builders: dict[str, Callable[[], Sam]] = {"vit_b": sam_model_registry["vit_b"], "vit_t": build_mobile_sam}
    sams = {name: build().eval() for name, build in builders.items()}
    image_13SS, points_P2 = torch.randn(1, 3, SIZE, SIZE), torch.rand(PROMPTS, 2) * SIZE
    precisions = dict.fromkeys(("float32", str(chosen_precision("auto", torch.device("cpu"))).removeprefix("torch.")))
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(options.times):
        for name, sam in sams.items():
            for precision in precisions:
                times = seconds(sam, getattr(torch, precision), image_13SS, points_P2)
                found.setdefault((name, precision), []).append(times)
    print(table(found))


if __name__ == "__main__":
    main()
