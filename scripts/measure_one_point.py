"""Measures the demo SAM as a promptable model: the IoU of its best of three masks for one point.

    python -m scripts.measure_one_point --windows data/sam/val --count 40
    python -m scripts.measure_one_point --frames <folder with images and labels> --count 24

Two ways to place the points, both against the part, the object and the class region (its connected piece) at the point;
photographs are labelled by class alone, so that there only the region counts, and pixels without a label count nowhere:

    grid      where the automatic generator places prompts, on a regular grid: every pixel counts alike, so large masks
              come often
    centres   at the pixel of each mask that is farthest from its border, as SAM's own evaluation does: every mask
              counts alike, so small ones come often (masks from `--smallest` pixels)

Legend: P points, L levels (part, object, class region), H W window.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from segment_anything import SamPredictor

from pipeline.teacher.config import SamConfig
from pipeline.teacher.sam import load_sam
from scripts.demo_data import Batch, load_shards
from scripts.demo_sam_examples import region_around
from scripts.evaluate_demo_sam import Pair, frames

LEVELS = ("part", "object", "region")
BANDS = (0, 256, 1024, 4096, 16384, 65537)
"""Limits of the areas, pixels of 65,536, by which the centres' table is split."""


@dataclass(frozen=True)
class LabelledImage:
    """An image and its true masks."""

    image_HW3: npt.NDArray[np.uint8]
    ids: Mapping[int, npt.NDArray[np.integer]]
    """Level -> map of ids [H, W]; a mask is a connected piece of one id; pixels below 0 have none."""


@dataclass(frozen=True)
class PointResult:
    """How well one mask was found from one point."""

    level: int
    area: int
    """Pixels of the true mask."""
    iou: float
    """Of the best of the three predicted masks."""


def labelled_window(batch: Batch, index: int) -> LabelledImage:
    """A rendered window, with all levels."""
    levels = (batch.parts_NHW[index], batch.instances_NHW[index], batch.labels_NHW[index])
    return LabelledImage(batch.images_NHW3[index], dict(enumerate(levels)))


def labelled_frame(pair: Pair) -> LabelledImage:
    """A photograph, with the classes alone."""
    image_HW3, labels_HW = pair
    return LabelledImage(image_HW3, {LEVELS.index("region"): labels_HW})


def grid_prompts(image: LabelledImage, side: int) -> Iterator[tuple[int, int, int]]:
    """(level, row, column) of all points of a regular grid, at every level that has a mask there."""
    size = image.image_HW3.shape[0]
    places = ((np.arange(side) + 0.5) * size / side).astype(int)
    for level, ids_HW in image.ids.items():
        yield from ((level, int(r), int(c)) for r in places for c in places if ids_HW[r, c] >= 0)


def centre_prompts(image: LabelledImage, smallest: int) -> Iterator[tuple[int, int, int]]:
    """(level, row, column) of the innermost pixel of every mask of at least `smallest` pixels."""
    for level, ids_HW in image.ids.items():
        left_HW = ids_HW >= 0
        for row, column in zip(*np.nonzero(left_HW), strict=True):
            if not left_HW[row, column]:
                continue
            mask_HW = region_around(ids_HW, row, column)
            left_HW &= mask_HW == 0
            if mask_HW.sum() >= smallest:
                depth_HW = cv2.distanceTransform(np.pad(mask_HW, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
                innermost = divmod(int(depth_HW.argmax()), ids_HW.shape[1])
                yield level, *innermost


def predict_points(
    predictor: SamPredictor, image: LabelledImage, prompts: list[tuple[int, int, int]]
) -> list[PointResult]:
    """Scores of the masks that the network predicts for all prompts of one image."""
    predictor.set_image(image.image_HW3)
    places = sorted({(row, column) for _, row, column in prompts})
    points_P12 = torch.tensor([[(column + 0.5, row + 0.5)] for row, column in places])
    points_P12 = predictor.transform.apply_coords_torch(points_P12, predictor.original_size)
    masks_P3HW, _, _ = predictor.predict_torch(points_P12, torch.ones(len(places), 1, dtype=torch.int))
    found = dict(zip(places, masks_P3HW.numpy(), strict=True))
    return [
        score_prediction(level, image.ids[level], row, column, found[row, column]) for level, row, column in prompts
    ]


def score_prediction(
    level: int, ids_HW: npt.NDArray[np.integer], row: int, column: int, found_3HW: npt.NDArray[np.bool_]
) -> PointResult:
    """The best of three masks for a point, against the mask around it; pixels below 0 count neither way."""
    true_HW = region_around(ids_HW, row, column).astype(bool)
    counted_3HW = found_3HW & (ids_HW >= 0)
    overlap = (counted_3HW & true_HW).sum((1, 2)) / np.maximum((counted_3HW | true_HW).sum((1, 2)), 1)
    return PointResult(level, int(true_HW.sum()), float(overlap.max()))


def by_level(found: list[PointResult]) -> str:
    """Mean IoU per level, and over all."""
    means = {level: np.mean([a.iou for a in found if a.level == level]) for level in sorted({a.level for a in found})}
    named = "  ".join(f"{LEVELS[level]} {mean:.3f}" for level, mean in means.items())
    return f"{named}  all {np.mean([a.iou for a in found]):.3f}  ({len(found)} masks)"


def by_area(found: list[PointResult]) -> str:
    """Mean IoU per band of the mask's area."""
    lines: list[str] = []
    for low, high in pairwise(BANDS):
        band = [a.iou for a in found if low <= a.area < high]
        lines.append(f"  {low:6d} to {high - 1:6d} pixels: {np.mean(band) if band else np.nan:.3f} ({len(band)})")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--windows", type=Path, help="folder of rendered shards")
    source.add_argument("--frames", type=Path, help="folder with images/ and labels/ of photographs")
    parser.add_argument("--count", type=int, default=40, help="images")
    parser.add_argument("--side", type=int, default=12, help="points per side of the grid")
    parser.add_argument("--smallest", type=int, default=64, help="pixels of the smallest mask for the centres")
    parser.add_argument("--weights", default="", help="weights; the embedded ones if not given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor = SamPredictor(load_sam(SamConfig(checkpoint=options.weights), torch.device("cpu")))
    if options.frames:
        images = [labelled_frame(pair) for pair in frames(options.frames, options.count)]
    else:
        batch = load_shards(options.windows)
        chosen = np.linspace(0, len(batch) - 1, min(options.count, len(batch))).astype(int)
        images = [labelled_window(batch, int(index)) for index in chosen]
    with torch.inference_mode():
        for name, prompts in (
            ("grid", lambda image: grid_prompts(image, options.side)),
            ("centres", lambda image: centre_prompts(image, options.smallest)),
        ):
            found = [result for image in images for result in predict_points(predictor, image, list(prompts(image)))]
            print(f"{name}: {by_level(found)}\n{by_area(found)}", flush=True)


if __name__ == "__main__":
    main()
