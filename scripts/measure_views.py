"""What perspective views bring to the assistant, and what they cost: quality over seconds, on labelled scenes.

    python -m scripts.measure_views [--scenes 12] [--out cache/bench/views.json]

The scenes of the world are none that a network or another choice has seen. Each way to see a panorama (the whole image,
windows, groups of perspective views) is shown to the demo's assistant once; blends are scored from its predictions, so
that many cost little more than one. The masks of the demo's windows vote on every blend, as in stage one.

Legend: C classes, H W panorama.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from pipeline.arrays import FloatArray
from pipeline.classes import LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.config import ViewsConfig, WindowConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import Stitcher, View
from pipeline.panorama.windows import window_grid
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.config import AssistantConfig
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.rectification import predict_views, stitch_assistant
from pipeline.teacher.vote import fuse
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.runs import open_recipe

SCENES = MODEL_VALIDATION[6200:]
_ALL = ViewsConfig()
_NONE = replace(_ALL, level=0, down=0, up=0, nadir=0, zenith=0)


def _groups(name: str, config: ViewsConfig) -> dict[str, ViewsConfig]:
    """The level, lower and upper views of a set, as groups of their own."""
    empty = replace(config, level=0, down=0, up=0, nadir=0, zenith=0)
    return {
        f"{name} level": replace(empty, level=config.level),
        f"{name} lower": replace(empty, down=config.down, nadir=config.nadir),
        f"{name} upper": replace(empty, up=config.up, zenith=config.zenith),
    }


GROUPS = {
    **_groups("26x320", _ALL),
    **_groups("26x256", replace(_ALL, size=256)),
    **_groups("16x320", ViewsConfig(level=6, down=5, up=3, nadir=1, zenith=1, fov=90, size=320, tilt=45)),
    **_groups("16x256", ViewsConfig(level=6, down=5, up=3, nadir=1, zenith=1, fov=90, size=256, tilt=45)),
}
"""Sets of perspective views: number and size in pixels; 26 of 75 degrees, or 16 of 90."""
WINDOWS = {"windows x1.5": 1.5, "windows x1": 1.0}
"""The demo's windows and the factors by which they are enlarged."""


class Prediction(NamedTuple):
    """A prediction of the panorama from one way to see it."""

    mean_CHW: FloatArray
    """Probabilities, 0 where nothing is seen."""
    weight_HW: FloatArray
    """How much of it counts per pixel, in [0, 1]."""


def joined_views(parts: list[Prediction]) -> Prediction:
    """Groups of views as one set: every view has its own weight."""
    total_HW = np.asarray(sum(part.weight_HW for part in parts), np.float32)
    mean_CHW = sum(part.mean_CHW * part.weight_HW for part in parts) / np.maximum(total_HW, np.float32(1e-9))
    return Prediction(np.asarray(mean_CHW, np.float32), total_HW)


def blend(parts: list[tuple[float, Prediction]]) -> FloatArray:
    """Weighted mean of predictions; where one sees nothing, the others share its weight."""
    shares = [weight * np.minimum(2 * seen.weight_HW, 1) for weight, seen in parts]
    total_HW = np.asarray(sum(shares), np.float32)
    summed = sum(share_HW * seen.mean_CHW for share_HW, (_, seen) in zip(shares, parts, strict=True))
    return np.asarray(summed / total_HW, np.float32)


class Study:
    """Scores of all blends, scene by scene."""

    def __init__(self, recipe: Recipe) -> None:
        self._size = (recipe.panorama.height, recipe.panorama.width)
        self._windows = window_grid(*self._size, recipe.windows)
        self._classes: LabelSet = recipe.classes
        self._assistant: Assistant = load_assistant(AssistantConfig(), torch.device("cpu"))
        self._masks = load_mask_source(recipe.sam, torch.device("cpu"))
        self._seconds: dict[str, float] = defaultdict(float)
        self._alone: dict[str, ConfusionMatrix] = {}
        self._fused: dict[str, ConfusionMatrix] = {}
        self._scenes = 0

    def add(self, seed: int) -> None:
        """See and score one scene."""
        scene = render_panorama(build_scene(seed), *self._size)
        masks = self._masks.many([window.cut_image(scene.image_HW3) for window in self._windows])
        one, no = np.ones(self._size, np.float32), np.zeros(self._size, np.bool_)
        self._scenes += 1
        for name, blend_CHW in self._blends(self._predict(scene.image_HW3)).items():
            labels_HW = blend_CHW.argmax(axis=0).astype(np.uint8)
            fusion = fuse(blend_CHW, one, no, self._windows, masks, self._classes, FusionConfig())
            for scores, scored_HW in ((self._alone, labels_HW), (self._fused, fusion.labels_HW)):
                scores.setdefault(name, ConfusionMatrix(len(self._classes))).add(scene.labels_HW, scored_HW)

    def rows(self) -> list[dict[str, object]]:
        """One row per blend: CPU seconds of the assistant per panorama, mIoU and pixels right, in per cent."""
        return [
            {
                "blend": name,
                "seconds": round(sum(self._seconds[way] for way in self._ways(name)) / self._scenes, 2),
                "assistant": _percent(alone),
                "ensemble": _percent(self._fused[name]),
                "ensemble per class": [round(100 * float(iou), 1) for iou in self._fused[name].per_class_iou],
                "scenes": self._scenes,
            }
            for name, alone in self._alone.items()
        ]

    def _ways(self, name: str) -> list[str]:
        return [way for part in name.split(" + ") for way in self._seconds if way.startswith(part)]

    def _predict(self, image_HW3: npt.NDArray[np.uint8]) -> dict[str, Prediction]:
        full_HW = np.ones(self._size, np.float32)
        seen: dict[str, Prediction] = {}
        for name, scale in WINDOWS.items():
            seen[name] = Prediction(self._stitched(name, image_HW3, self._windows, scale).mean_CHW, full_HW)
        started = time.process_time()
        config = AssistantConfig(whole_weight=1.0, feature_levels=())
        (all_of_it,) = window_grid(*self._size, WindowConfig(*self._size, 32, 32 * (self._size[1] // 32)))
        whole = stitch_assistant(image_HW3, (all_of_it,), self._assistant, config, self._classes)
        self._seconds["whole"] += (time.process_time() - started) / 3  # it is seen three times there
        seen["whole"] = Prediction(whole.assistant_CHW, full_HW)
        for name, config in GROUPS.items():
            views = perspective_views(*self._size, 180.0, config)
            seen[name] = self._stitched(name, image_HW3, views, 1.0)
        return seen

    def _stitched(
        self, name: str, image_HW3: npt.NDArray[np.uint8], views: tuple[View, ...], scale: float
    ) -> Prediction:
        started = time.process_time()
        stitcher = Stitcher(*self._size, len(self._classes), views, gaps=True)
        for view, prediction in predict_views(image_HW3, views, self._assistant, (), scale, self._classes):
            stitcher.add(view, view.project_linear(prediction.probabilities_Chw))
        self._seconds[name] += time.process_time() - started
        return Prediction(stitcher.result(), stitcher.total_HW)

    @staticmethod
    def _blends(seen: dict[str, Prediction]) -> dict[str, FloatArray]:
        whole = seen["whole"]
        blends = {name: seen[name].mean_CHW for name in (*WINDOWS, "whole")}
        for windows in WINDOWS:
            blends[f"{windows} + whole"] = blend([(1, seen[windows]), (1, whole)])
        for views in dict.fromkeys(name.split()[0] for name in GROUPS):
            level, lower, upper = (seen[f"{views} {part}"] for part in ("level", "lower", "upper"))
            all_of_them = joined_views([level, lower, upper])
            blends[views] = all_of_them.mean_CHW
            blends[f"{views} + whole"] = blend([(1, all_of_them), (1, whole)])
            for windows in WINDOWS:
                grid = seen[windows]
                blends[f"{windows} + {views}"] = blend([(1, grid), (1, all_of_them)])
                blends[f"{windows} + {views} + whole"] = blend([(1, grid), (1, all_of_them), (1, whole)])
            grid = seen["windows x1.5"]
            blends[f"windows x1.5 + {views} lower"] = blend([(1, grid), (1, lower)])
            blends[f"windows x1.5 + {views} level + {views} lower"] = blend(
                [(1, grid), (1, joined_views([level, lower]))]
            )
            blends[f"windows x1.5 + {views} lower + whole"] = blend([(1, grid), (1, lower), (1, whole)])
        return blends


def _percent(matrix: ConfusionMatrix) -> tuple[float, float]:
    return round(100 * matrix.miou, 1), round(100 * matrix.accuracy, 1)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("cache/bench/views.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    study = Study(open_recipe("demo"))
    for number, seed in enumerate(SCENES[: options.scenes], start=1):
        study.add(seed)
        options.out.write_text(json.dumps(study.rows(), indent=1))
        print(f"{number} of {options.scenes} scenes", flush=True)
    print("| assistant sees | CPU s | assistant, mIoU / pixels | ensemble, mIoU / pixels |\n|---|---|---|---|")
    for row in study.rows():
        alone, fused = row["assistant"], row["ensemble"]
        print(f"| {row['blend']} | {row['seconds']} | {alone[0]} / {alone[1]} | {fused[0]} / {fused[1]} |")  # type: ignore[index]


if __name__ == "__main__":
    main()
