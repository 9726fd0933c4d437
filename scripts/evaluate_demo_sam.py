"""Measures the automatic masks of the demo SAM against reference labels.

    python -m scripts.evaluate_demo_sam --windows data/sam/val --count 40
    python -m scripts.evaluate_demo_sam --frames <folder with images and labels> --count 20 --overlays <folder>

Segments: every pixel belongs to the smallest mask that covers it (as stage one paints them); the visible pixels of a
mask are its segment. Achievable segmentation accuracy (ASA): the share of covered, labelled pixels that have the
majority label of their segment, that is the accuracy of a teacher that names every segment rightly. Coverage: the
share of labelled pixels that lie in any mask; what no mask covers is not counted, it is left to the assistant.

Legend: N images, H W pixels, M masks.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.classes import IGNORE
from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.sam import SamMaskGenerator, load_sam
from scripts.demo_data import SIZE, load_shards

CAMVID_UNLABELLED = 11
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer]]


@dataclass(frozen=True)
class Score:
    """Quality of the masks of one image."""

    masks: float
    """How many."""
    coverage: float
    """Share of labelled pixels under a mask."""
    accuracy: float
    """ASA on covered pixels; nan where there are none."""
    coverage_and_accuracy: float
    """Share of labelled pixels that are covered and have their segment's majority label."""
    seconds: float
    """CPU time of the generator."""


def segments_of(masks: MaskSet) -> npt.NDArray[np.int32]:
    """Index of the smallest mask that covers each pixel [H, W]; -1 where none does."""
    segments_HW = np.full((masks.height, masks.width), -1, np.int32)
    placed = list(masks.placed())
    for index in np.argsort(-masks.areas(), kind="stable"):
        box, bitmap = placed[index]
        segments_HW[box][bitmap] = index
    return segments_HW


def achievable(segments_HW: npt.NDArray[np.int32], labels_HW: npt.NDArray[np.integer]) -> tuple[float, float]:
    """(coverage, ASA on covered pixels, nan where there are none); labels below 0 are not counted."""
    labelled = labels_HW >= 0
    counted = labelled & (segments_HW >= 0)
    if not counted.any():
        return 0.0, math.nan
    labels = labels_HW[counted].astype(np.int64)
    width = int(labels.max()) + 1
    table = np.bincount(segments_HW[counted] * width + labels, minlength=width * (int(segments_HW.max()) + 1))
    return float(counted.sum() / labelled.sum()), float(table.reshape(-1, width).max(1).sum() / counted.sum())


def score(generator: SamMaskGenerator, image_HW3: npt.NDArray[np.uint8], labels_HW: npt.NDArray[np.integer]) -> Score:
    """Masks of one image, measured."""
    start = time.process_time()
    masks = generator(image_HW3)
    seconds = time.process_time() - start
    coverage, accuracy = achievable(segments_of(masks), labels_HW)
    return Score(len(masks), coverage, accuracy, coverage * accuracy if coverage else 0.0, seconds)


def rendered(folder: Path, count: int, of: str) -> Iterator[Pair]:
    """Held-out windows with their classes or instances."""
    batch = load_shards(folder)
    reference = batch.labels_NHW if of == "classes" else batch.instances_NHW
    for i in np.linspace(0, len(batch) - 1, min(count, len(batch))).astype(int):
        yield batch.images_NHW3[i], reference[i].astype(np.int32)


def frames(folder: Path, count: int) -> Iterator[Pair]:
    """The middle squares of labelled street photographs, at the window's size."""
    paths = sorted((folder / "images").iterdir())
    for path in [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]:
        with Image.open(path) as image, Image.open(next((folder / "labels").glob(f"{path.stem}.*"))) as labels:
            box = ((image.width - image.height) // 2, 0, (image.width + image.height) // 2, image.height)
            colours = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX, box))
            ids = np.asarray(labels.resize((SIZE, SIZE), Image.Resampling.NEAREST, box)).astype(np.int32)
        yield colours, np.where((ids == CAMVID_UNLABELLED) | (ids == IGNORE), -1, ids)


def overlay(image_HW3: npt.NDArray[np.uint8], masks: MaskSet) -> npt.NDArray[np.uint8]:
    """The image beside its segments, each in its mean colour with a random tint; black where no mask is."""
    segments_HW, tints = segments_of(masks), np.random.default_rng(0).integers(40, 256, (len(masks) + 1, 3))
    tints[-1] = 0
    return np.concatenate((image_HW3, tints[segments_HW].astype(np.uint8)), axis=1)


def mean_score(scores: list[Score]) -> Score:
    """Means over images; of the accuracy over those that have one."""
    return Score(*(float(np.nanmean([getattr(s, f.name) for s in scores])) for f in fields(Score)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--windows", type=Path, help="folder of rendered shards")
    parser.add_argument("--of", choices=("classes", "instances"), default="classes", help="their reference")
    source.add_argument("--frames", type=Path, help="folder with images/ and labels/ of photographs")
    parser.add_argument("--count", type=int, default=20, help="images")
    parser.add_argument("--weights", default="", help="weights; the embedded ones if not given")
    parser.add_argument("--points", type=int, default=12, help="points per side")
    parser.add_argument("--iou", type=float, default=0.5, help="threshold of the predicted IoU")
    parser.add_argument("--stability", type=float, default=0.8, help="threshold of the stability")
    parser.add_argument("--offset", type=float, default=1.0, help="offset of the stability")
    parser.add_argument("--nms", type=float, default=0.7, help="IoU of boxes that are the same mask")
    parser.add_argument("--crops", type=int, default=0, help="layers of crops that are asked too")
    parser.add_argument("--crop-nms", type=float, default=0.7, help="the same IoU between crops")
    parser.add_argument("--overlays", type=Path, help="folder for pictures")
    options = parser.parse_args()
    config = SamConfig(checkpoint=options.weights, points_per_side=options.points, pred_iou_thresh=options.iou,
                       stability_score_thresh=options.stability, stability_score_offset=options.offset,
                       box_nms_thresh=options.nms, crop_n_layers=options.crops,
                       crop_nms_thresh=options.crop_nms)  # fmt: skip
    torch.set_num_threads(1)
    generator = SamMaskGenerator(load_sam(config, torch.device("cpu")), config)
    pairs = list(
        rendered(options.windows, options.count, options.of)
        if options.windows
        else frames(options.frames, options.count)
    )
    print(mean_score([score(generator, *pair) for pair in pairs]))
    if options.overlays:
        options.overlays.mkdir(parents=True, exist_ok=True)
        for number, (image, _) in enumerate(pairs[:12]):
            Image.fromarray(overlay(image, generator(image))).save(options.overlays / f"{number:02d}.png")


if __name__ == "__main__":
    main()
