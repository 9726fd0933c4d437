"""Whether the scores of `goodsam tune` rank settings as people's labels do, on perspective pictures and a real network.

    python -m scripts.measure_tune_pictures --data FOLDER --assistant FILE.onnx [--pictures 12]

FOLDER has `images` and `labels` (PNGs) of equal names, classes as CamVid has them: 0 sky, 1 building, 2 pole, 3 road, 4
pavement, 5 tree, 6 sign, 7 fence, 8 car, 9 pedestrian, 10 bicyclist, others ignored. The network knows Cityscapes'
classes. A perspective picture has no yaw and no views that look elsewhere: settings are the weights and scales of
windows and the whole image, and the mirrored picture stands in for the rolled panorama. Masks are the demo SAM's.

Legend: H W picture, C classes of the network, N pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import CITYSCAPES_19, IGNORE
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.views import Stitcher
from pipeline.panorama.windows import Window
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.rectification import Agreement, predict_views
from pipeline.tune.blends import Blend, SeenPart
from pipeline.tune.judge import JudgedPanorama
from pipeline.tune.mask_pixels import MaskPixels
from scripts.measure_tune import Records, report, summaries
from stages.runs import open_recipe
from stages.tune import spread

CLASSES = 11
CAMVID_OF_CITYSCAPES = np.array([3, 4, 1, 1, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10], np.uint8)
"""CamVid's class of each of Cityscapes'."""
SIDE = 256
"""Of windows, pixels."""
WHOLE_SCALES, WINDOW_SCALES = (1.0, 2.0), (1.0, 1.5, 2.0)
WEIGHTS = (1.0, 0.875, 0.75, 0.5, 0.25, 0.0)
"""Of the whole image; the windows have the rest."""


class Settings(NamedTuple):
    """One setting that is judged."""

    whole: float
    whole_scale: float
    window_scale: float

    @property
    def label(self) -> str:
        """For a table: "0.5 whole x2 + 0.5 windows x1"."""
        parts = {f"whole x{self.whole_scale:g}": self.whole, f"windows x{self.window_scale:g}": 1 - self.whole}
        return " + ".join(f"{weight:g} {name}" for name, weight in parts.items() if weight > 0)


SETTINGS = list({
    each.label: each
    for each in (Settings(0.5, 1.0, 1.0), *(Settings(*some) for some in
                 ((w, whole, windows) for w in WEIGHTS for whole in WHOLE_SCALES for windows in WINDOW_SCALES)))
}.values())  # fmt: skip
"""Halves at the picture's own size first, as a recipe might have them."""


def windows_of(height: int, width: int) -> tuple[Window, ...]:
    """Windows that cover a picture and overlap by half or more; none runs over its edge."""
    rows, columns = (np.linspace(0, side - SIDE, 1 + -(-(side - SIDE) // (SIDE // 2))) for side in (height, width))
    return tuple(Window(round(row), round(column), SIDE, SIDE) for row in rows for column in columns)


class Study:
    """Judges settings without labels and measures them with labels."""

    def __init__(self, assistant: Path) -> None:
        config = AssistantConfig(kind="onnx", name=str(assistant), label_set=CITYSCAPES_19.name, feature_levels=())
        self._assistant = load_assistant(config, torch.device("cpu"))
        self._masks = load_mask_source(open_recipe("demo").sam, torch.device("cpu"))

    def measure(self, image_HW3: ImageArray, labels_HW: LabelArray) -> Records:
        """Judge and measure all settings on one picture."""
        size = labels_HW.shape
        windows = windows_of(*size)
        masks = self._masks.many([view.cut_image(image_HW3) for view in windows])
        everywhere_HW, alike_N = np.ones(size, np.bool_), np.ones(labels_HW.size)
        pixels = MaskPixels.of(windows, masks, everywhere_HW)
        judged = JudgedPanorama(pixels, alike_N, len(CITYSCAPES_19), alike_N)
        straight = self._see(image_HW3, windows)
        mirrored = self._see(np.ascontiguousarray(image_HW3[:, ::-1]), windows)
        records: Records = {}
        for setting in SETTINGS:
            keys = {"whole": ("whole", setting.whole_scale), "windows": ("windows", setting.window_scale)}
            seen, turned = ({kind: self._part(parts, key, size, mirror) for kind, key in keys.items()}
                            for parts, mirror in ((straight, False), (mirrored, True)))  # fmt: skip
            blend = Blend(setting.whole, 0.0)
            agreements = {"windows": straight[keys["windows"]][1]}
            score = judged.judge(blend, seen, turned, agreements)
            truth = ConfusionMatrix(CLASSES)
            truth.add(labels_HW, CAMVID_OF_CITYSCAPES[judged.labels(blend, seen)].reshape(size))
            records[setting.label] = {"judged": asdict(score), "truth": truth.matrix.tolist()}
        return records

    def _see(
        self, image_HW3: ImageArray, windows: tuple[Window, ...]
    ) -> dict[tuple[str, float], tuple[np.ndarray, float]]:
        """Probabilities [C, H, W] and agreement of the windows, of every kind and scale."""
        height, width = image_HW3.shape[:2]
        kinds = {"whole": ((Window(0, 0, height, width),), WHOLE_SCALES), "windows": (windows, WINDOW_SCALES)}
        seen: dict[tuple[str, float], tuple[np.ndarray, float]] = {}
        for kind, (views, scales) in kinds.items():
            for scale in scales:
                stitcher = Stitcher(height, width, len(CITYSCAPES_19), views)
                agreement = Agreement(height, width, len(CITYSCAPES_19))
                for view, said in predict_views(image_HW3, views, self._assistant, (), scale, CITYSCAPES_19):
                    stitcher.add(view, said.probabilities_Chw)
                    agreement.add(view, said.probabilities_Chw)
                seen[kind, scale] = stitcher.result(), float(agreement.result().mean())
        return seen

    @staticmethod
    def _part(
        seen: dict[tuple[str, float], tuple[np.ndarray, float]],
        key: tuple[str, float],
        size: tuple[int, int],
        mirror: bool,
    ) -> SeenPart:
        probabilities_CHW = seen[key][0][..., ::-1] if mirror else seen[key][0]
        flat_CN = np.ascontiguousarray(probabilities_CHW).reshape(len(CITYSCAPES_19), -1)
        return SeenPart(flat_CN, np.ones(size[0] * size[1], np.float32))


def pictures(folder: Path, count: int, besides: int = 0) -> Iterator[tuple[str, ImageArray, LabelArray]]:
    """The names of so many pictures, evenly spread, the pictures and their labels.

    Args:
        folder: has images/ and labels/.
        count: how many.
        besides: none of those that this count takes.
    """
    every = sorted((folder / "images").iterdir())
    others = set(spread(every, besides)) if besides else set[Path]()
    for path in spread([path for path in every if path not in others], count):
        labels_HW = np.asarray(Image.open(folder / "labels" / f"{path.stem}.png"))
        yield (
            path.stem,
            np.asarray(Image.open(path).convert("RGB")),
            np.where(labels_HW < CLASSES, labels_HW, IGNORE).astype(np.uint8),
        )


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    parser.add_argument("--assistant", type=Path, required=True, help="an ONNX file that knows Cityscapes' classes")
    parser.add_argument("--pictures", type=int, default=12)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study, found = Study(options.assistant), list[Records]()
    for number, (_, image_HW3, labels_HW) in enumerate(pictures(options.data, options.pictures), start=1):
        found.append(study.measure(image_HW3, labels_HW))
        print(f"{number} of {options.pictures} pictures", flush=True)
    print(report(summaries(found)))


if __name__ == "__main__":
    main()
