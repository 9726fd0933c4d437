"""How long MobileSAM takes for a window beside SAM ViT-B, on one thread.

    python -m scripts.measure_mobile_sam [--times 3]

Random weights, on which the time of these parts does not depend, in turn in one process: medians of CPU time of a
window's embedding, of 64 prompts (a grid of 8 x 8) and of 16 things (`sam.prompt_things`) up to their low-resolution
masks, the latter also by segment_anything's own decoder. What follows, scaling the masks up and filtering them, is the
same for all and depends on how many masks there are.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from pipeline.precision import chosen_precision
from pipeline.teacher.generator.decoder import StockDecoder, fastest_decoder
from pipeline.teacher.generator.encoder import FastEncoder
from pipeline.teacher.mobile_sam import SIZE, build_mobile_sam

PARTS = ("embedding", "64 prompts", "16 things", "16 things, segment_anything's decoder")
PROMPTS, THINGS = 64, 16


def seconds(sam: Sam, precision: torch.dtype, image_13SS: Tensor, points_P2: Tensor) -> list[float]:
    """CPU seconds of each of PARTS."""
    encoder, decoder = FastEncoder(sam.image_encoder, precision), fastest_decoder(sam, precision)
    stock = StockDecoder(sam, PROMPTS, "compared with")
    inside_B22 = points_P2[: 2 * THINGS].view(THINGS, 2, 2)
    boxes_B4 = torch.cat((inside_B22.amin(1), inside_B22.amax(1)), 1)
    began = time.process_time()
    embedding = encoder(image_13SS)
    ends = [began, time.process_time()]
    decoder.decode(decoder.prepare(embedding), points_P2, None)
    ends.append(time.process_time())
    for one in (decoder, stock):
        one.decode_things(one.prepare(embedding), boxes_B4, inside_B22, None)
        ends.append(time.process_time())
    return [after - before for before, after in pairwise(ends)]


def table(found: Mapping[tuple[str, str], list[list[float]]]) -> str:
    """Medians as Markdown, by model and precision."""
    lines = [f"| model | precision | {' | '.join(f'{part}, s' for part in PARTS)} |",
             f"| --- | --- |{' ---: |' * len(PARTS)}"]  # fmt: skip
    for (model, precision), times in found.items():
        medians = [statistics.median(own) for own in zip(*times, strict=True)]
        lines.append(f"| {model} | {precision} | {' | '.join(f'{s:.2f}' for s in medians)} |")
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
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(options.times):
        for name, sam in sams.items():
            for precision in precisions:
                times = seconds(sam, getattr(torch, precision), image_13SS, points_P2)
                found.setdefault((name, precision), []).append(times)
    print(table(found))


if __name__ == "__main__":
    main()
