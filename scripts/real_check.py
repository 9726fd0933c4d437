"""The whole method on real street panoramas: stage one, a student, overlays, agreement with machine labels.

    python -m scripts.real_check --data FOLDER            (or `make real-check DATA=FOLDER`)

The data folder holds `panoramas/` (2:1 JPEGs of one recording car), `assistant/*.onnx` (a Cityscapes network) and, if
there are any, `machine_labels/` (Cityscapes train ids of another run of that network: labels to compare with, not
truth). Nothing is scored as right or wrong; the report says how far the rungs agree, and pictures are to be looked at.

With `--held-out N`, the student's agreement with the high-confidence ensemble is measured on N panoramas that it does
not learn from, while it learns (`agreement` in its validation.json). A student for use takes thousands of steps, and
learns faster from one that knows streets:

    python -m scripts.real_check --data FOLDER --held-out 8 --steps 2500 --size tiny --start demo

begins with the demo's start, which has learned from scenes of the demo world. `--sam cache/weights/mobile_sam.pt`
(`goodsam fetch-weights vit_t`) finds masks with MobileSAM, as the recipes of `goodsam init` do without a GPU, in place
of the demo SAM. Killed commands resume.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from pipeline.ensemble.config import FusionConfig
from pipeline.errors import GoodSAMError, InputError
from pipeline.recipe import merge_recipe
from stages.devices import choose_device
from stages.distill import distill
from stages.evaluate import evaluate
from stages.listeners import RunListeners
from stages.memory import keep_freed_memory
from stages.runs import Run, open_recipe
from stages.teacher_cache import teacher_cache

RIG = ((0.00, 0.775), (0.36, 0.775), (0.46, 0.70), (0.50, 0.655), (0.65, 0.655), (0.70, 0.71), (0.75, 0.775),
       (1.00, 0.765), (1.00, 1.00), (0.00, 1.00))  # fmt: skip
"""Outline of the roof rack, (x, y) as fractions of the image, drawn by hand on the median of the panoramas."""


def write_rig_mask(path: Path) -> None:
    """The rig as an image: 255 where the car shows."""
    mask = Image.new("L", (1024, 512))
    ImageDraw.Draw(mask).polygon([(x * 1024, y * 512) for x, y in RIG], fill=255)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)


def real_run(
    data: Path,
    cache: Path,
    steps: int,
    limit: int,
    held_out: int = 0,
    start: str = "",
    size: str = "b0",
    sam: Path | None = None,
    points: int = 16,
) -> Run:
    """The run: ONNX assistant that sees what the recipe `street` shows, demo SAM, 19 classes, rig and nadir ignored, a
    student that sees the panorama as it is.

    Args:
        data: folder of panoramas, assistant and machine labels.
        cache: folder of the runs.
        steps: of the student.
        limit: use only so many panoramas; 0: all.
        held_out: panoramas that the student does not learn from, and is validated on.
        start: folder of a student of that size to begin with, or demo; empty: random weights.
        size: of the student, as `student.size`.
        sam: MobileSAM's weights, whose masks are fused as in `street`; None: the demo SAM, whose unreliable masks keep
            the assistant's labels.
        points: `sam.points_per_side` of MobileSAM.

    Raises:
        InputError: there is no assistant.
    """
    networks = sorted((data / "assistant").glob("*.onnx"))
    if not networks:
        raise InputError(f"{data / 'assistant'} has no .onnx file", "a Cityscapes network must be there", "Pass --data")
    folder, labels = cache / (f"real-mobile-sam-{points}" if sam else "real"), data / "machine_labels"
    write_rig_mask(folder / "rig.png")
    demo, street = open_recipe("demo"), open_recipe("street")
    recipe = merge_recipe(demo, {
        "name": "real",
        "label_set": "cityscapes19",
        "data": {"panoramas": str(data / "panoramas"), "evaluation": "",
                 "labels": str(labels) if labels.is_dir() else "",
                 "labels_by": "network",
                 "limit": limit},
        "panorama": {"find_constant_border": True, "ignore_mask": str(folder / "rig.png")},
        "assistant": {"kind": "onnx", "name": str(networks[0]), "label_set": "cityscapes19", "window_scale": 2.0,
                      "whole_weight": street.assistant.whole_weight, "views_weight": street.assistant.views_weight,
                      "feature_levels": [1, 2, 3]},
        "views": {**asdict(street.views), "size": street.views.size * demo.panorama.width // street.panorama.width},
        "sam": asdict(demo.sam) if sam is None else asdict(street.sam) | _mobile_sam(sam, points),
        "fusion": asdict(FusionConfig(unreliable="keep") if sam is None else street.fusion),
        "student": {"size": size, "weights": start, "scale": 1},
        "distill": {"steps": max(steps, 1), "learning_rate": 6e-4, "crop_width": 512,
                    "warmup_steps": min(steps // 10, 100), "precision": "auto",
                    "validation": held_out, "validate_every": max(steps // 10, 1)},
        "evaluation": {"overlays": 8, "student_start": False},
    })  # fmt: skip
    return Run(recipe, folder)


def _mobile_sam(weights: Path, points: int) -> dict[str, Any]:
    """The settings in which the recipes of `goodsam init` differ from `street` where there is no GPU."""
    return {"model": "vit_t", "checkpoint": str(weights), "points_per_side": points}


def main() -> None:
    """Run everything and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with panoramas/, assistant/, machine_labels/")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--steps", type=int, default=300, help="distillation steps; 0: no student")
    parser.add_argument("--held-out", type=int, default=0, help="panoramas to validate the student on; 0: none")
    parser.add_argument("--start", default="", help="folder of a student to begin with, or demo; else random weights")
    parser.add_argument("--size", default="b0", choices=["tiny", "b0", "b1", "b2"], help="of the student")
    parser.add_argument("--sam", type=Path, help="MobileSAM's weights, in place of the demo SAM")
    parser.add_argument("--points", type=int, default=16, help="MobileSAM's points per side")
    parser.add_argument("--limit", type=int, default=0, help="only so many panoramas; 0 for all")
    parser.add_argument("--workers", type=int, default=2, help="processes of stage one; 0 is better on a GPU")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or what auto finds")
    options = parser.parse_args()
    keep_freed_memory()
    try:
        run = real_run(options.data, options.cache, options.steps, options.limit, options.held_out,
                       options.start, options.size, options.sam, options.points)  # fmt: skip
        with RunListeners(run.folder) as listener:
            device = choose_device(options.device)
            teacher_cache(run, listener, workers=options.workers, device=device)
            if options.steps:
                distill(run, listener, device=device)
            print(evaluate(run, listener, device=device).table)
    except GoodSAMError as error:
        sys.exit(f"error: {error}")
    print(f"pictures: {run.evaluation / 'overlays'}")


if __name__ == "__main__":
    main()
