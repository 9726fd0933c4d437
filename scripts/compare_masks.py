"""How far our masks are from the stock generator's, counted: the trained demo SAM on real pictures, or on the world's.

    python -m scripts.compare_masks --pictures FOLDER ... --windows 60
    python -m scripts.compare_masks --precision bfloat16

Both generators ask the whole SAM; ours computes what is the same in another order, and float32 rounds it another way.
Masks are compared one by one where both generators find as many; in bfloat16, which changes their order where many are
alike, only with the demo's settings. Without folders the windows are of the built-in world.

Legend: M masks, H W window.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.teacher.config import SamConfig
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.masks import MaskSet
from scripts.bench.quality import street_windows
from stages.runs import open_recipe

Picture = npt.NDArray[np.uint8]
SIDE = 256
SCORE = 1e-5
"""Scores that are this near count as equal."""


@dataclass
class Count:
    """What differs."""

    windows: int = 0
    other_number: int = 0
    """Windows with another number of masks; what follows counts the other windows only."""
    masks: int = 0
    other_masks: int = 0
    """Masks that differ in any pixel."""
    pixels: int = 0
    """In all of these."""
    other_boxes: int = 0
    """Boxes that are not equal to the pixel."""
    other_scores: int = 0
    """Masks of which a score differs by more than `SCORE`."""
    overlap: float = 0.0
    """Sum of the masks' IoU with the stock's."""

    def add(self, stock: MaskSet, ours: MaskSet) -> None:
        """One window's masks."""
        self.windows += 1
        if len(stock) != len(ours):
            self.other_number += 1
            return
        differing_M = (stock.dense() != ours.dense()).sum(axis=(1, 2))
        either_M = (stock.dense() | ours.dense()).sum(axis=(1, 2))
        scores = ((stock.predicted_iou_M, ours.predicted_iou_M), (stock.stability_M, ours.stability_M))
        self.masks += len(stock)
        self.other_masks += int(np.count_nonzero(differing_M))
        self.pixels += int(differing_M.sum())
        self.other_boxes += int((stock.boxes_M4 != ours.boxes_M4).any(axis=1).sum())
        self.other_scores += int(np.any([abs(one_M - other_M) > SCORE for one_M, other_M in scores], axis=0).sum())
        self.overlap += float((1 - differing_M / np.maximum(either_M, 1)).sum())

    def row(self, name: str) -> str:
        """As a row of the table."""
        cells = [getattr(self, field.name) for field in fields(self)[:-1]]
        return f"| {name} | {' | '.join(map(str, cells))} | {self.overlap / max(self.masks, 1):.5f} |"


HEAD = "| settings | windows | other number | masks | other masks | pixels | other boxes | other scores | mean IoU |"


def compare(windows: Sequence[Picture], config: SamConfig) -> Count:
    """Both generators around one SAM on a CPU; `config` is that of ours."""
    cpu = torch.device("cpu")
    stock = load_mask_source(replace(config, kind="stock", precision="float32"), cpu)
    ours = load_mask_source(replace(config, kind="sam"), cpu)
    count = Count()
    for window_HW3 in windows:
        count.add(*stock.many([window_HW3]), *ours.many([window_HW3]))
    return count


def windows_of(folders: Sequence[Path], count: int) -> list[Picture]:
    """Windows of 256x256 pixels, one per picture at half its height, the folders in turn."""
    files = [sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png")) for folder in folders]
    rng = np.random.default_rng(0)
    windows: list[Picture] = []
    for number in range(count):
        own = files[number % len(files)]
        with Image.open(own[number // len(files) % len(own)]) as image:
            pixels_HW3 = np.asarray(image.convert("RGB"))
        y, x = (pixels_HW3.shape[0] - SIDE) // 2, int(rng.integers(pixels_HW3.shape[1] - SIDE + 1))
        windows.append(np.ascontiguousarray(pixels_HW3[y : y + SIDE, x : x + SIDE]))
    return windows


def main() -> None:
    """Print the table: the demo's settings and, in float32, no filter at all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--windows", type=int, default=60)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    windows = windows_of(options.pictures, options.windows) if options.pictures else street_windows(options.windows)
    demos = replace(open_recipe("demo").sam, precision=options.precision)
    settings = {"the demo's": demos}
    if options.precision == "float32":
        settings["no filters"] = replace(demos, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    print(HEAD + "\n" + "|---" * 9 + "|")
    for name, own in settings.items():
        print(compare(windows, own).row(name), flush=True)


if __name__ == "__main__":
    main()
