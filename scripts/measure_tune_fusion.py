"""Whether settings of fusion can be chosen without labels, by masks that the fusion did not use: they cannot, so far.

    python -m scripts.measure_tune_fusion [--scenes 4]

Masks that are painted are pure by themselves, so purity under its own masks tells nothing of a fusion. Windows overlap:
every second column of them covers the panorama, too. Each half of the windows is fused, and judged by the purity of the
other half's masks and by the agreement of both ensembles; all windows together are measured with labels. The scenes are
none that a network or another choice has seen; networks, masks and blend are the demo's.

Legend: C classes, H W panorama.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import torch

from pipeline.arrays import FloatArray, ImageArray
from pipeline.classes import LabelSet
from pipeline.ensemble.config import FusionConfig
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sphere import solid_angles
from pipeline.panorama.views import View
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.rectification import stitch_assistant
from pipeline.teacher.vote import fuse
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.scores import corrected_agreement, corrected_purity
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.runs import open_recipe
from stages.views import assistant_views, shared_views

SCENES = MODEL_VALIDATION[6500:]


class Setting(NamedTuple):
    """Settings of fusion, and thresholds of the masks that it uses; masks below them are left out."""

    fusion: FusionConfig
    predicted_iou: float = 0.0
    stability: float = 0.0

    def kept(self, masks: MaskSet) -> MaskSet:
        """The masks that the thresholds let through."""
        return masks.filter((masks.predicted_iou_M >= self.predicted_iou) & (masks.stability_M >= self.stability))


PLAIN = FusionConfig()
SETTINGS = {
    "without options": Setting(PLAIN),
    **{f"keep, theta {theta}": Setting(replace(PLAIN, unreliable="keep", theta=theta)) for theta in (0.5, 0.7, 0.9)},
    "regions joined": Setting(replace(PLAIN, join=0.5)),
    "rare classes protected": Setting(replace(PLAIN, protect_rare=0.01)),
    "thin classes not protected": Setting(replace(PLAIN, protect_thin=False)),
    "predicted IoU from 0.75": Setting(PLAIN, predicted_iou=0.75),
    "stability from 0.925": Setting(PLAIN, stability=0.925),
}


class Half(NamedTuple):
    """Half of a panorama's windows."""

    views: tuple[View, ...]
    masks: tuple[MaskSet, ...]


def halves(views: Sequence[View], masks: Sequence[MaskSet]) -> tuple[Half, Half]:
    """Every second column of windows, and the others."""
    columns = sorted({view.footprint.column for view in views})
    in_half = [columns.index(view.footprint.column) % 2 for view in views]
    first, second = (
        Half(
            tuple(view for view, own in zip(views, in_half, strict=True) if own == half),
            tuple(mask_set for mask_set, own in zip(masks, in_half, strict=True) if own == half),
        )
        for half in (0, 1)
    )
    return first, second


def judge(setting: Setting, both: tuple[Half, Half], assistant_CHW: FloatArray, classes: LabelSet) -> float:
    """The score without labels: four fifths purity under the other half's masks, one fifth agreement of both."""
    size = assistant_CHW.shape[1:]
    certain_HW, none_HW = np.ones(size, np.float32), np.zeros(size, np.bool_)
    labels = [
        fuse(assistant_CHW, certain_HW, none_HW, half.views, [setting.kept(m) for m in half.masks], classes,
             setting.fusion).labels_HW.ravel()
        for half in both
    ]  # fmt: skip
    purities = [
        corrected_purity(MaskPixels.of(other.views, other.masks, ~none_HW).votes(labels_N, len(classes)))
        for labels_N, other in zip(labels, reversed(both), strict=True)
    ]
    weights_N = np.repeat(solid_angles(*size), size[1])
    return 0.8 * fmean(purities) + 0.2 * corrected_agreement(labels[0], labels[1], len(classes), weights_N)


@dataclass
class Row:
    """A setting over all scenes."""

    truth: ConfusionMatrix
    scores: list[float] = field(default_factory=list[float])


class Study:
    """Judges settings without labels and measures them with labels."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._views = recipe, shared_views(recipe)
        self._assistant = load_assistant(recipe.assistant, torch.device("cpu"))
        self._masks = load_mask_source(recipe.sam, torch.device("cpu"))
        self.rows = {name: Row(ConfusionMatrix(len(recipe.classes))) for name in SETTINGS}

    def add(self, seed: int) -> None:
        """Judge and measure all settings on one scene."""
        size, classes = self._recipe.panorama, self._recipe.classes
        scene = render_panorama(build_scene(seed), size.height, size.width)
        masks = self._masks.many([view.cut_image(scene.image_HW3) for view in self._views])
        assistant_CHW = self._blended(scene.image_HW3)
        both = halves(self._views, masks)
        certain_HW, none_HW = np.ones(scene.labels_HW.shape, np.float32), np.zeros(scene.labels_HW.shape, np.bool_)
        for name, setting in SETTINGS.items():
            self.rows[name].scores.append(judge(setting, both, assistant_CHW, classes))
            kept = [setting.kept(mask_set) for mask_set in masks]
            fusion = fuse(assistant_CHW, certain_HW, none_HW, self._views, kept, classes, setting.fusion)
            self.rows[name].truth.add(scene.labels_HW, fusion.labels_HW)

    def _blended(self, image_HW3: ImageArray) -> FloatArray:
        recipe = self._recipe
        more, config = assistant_views(recipe), replace(recipe.assistant, feature_levels=())
        return stitch_assistant(image_HW3, self._views, self._assistant, config, recipe.classes,
                                more_views=more).assistant_CHW  # fmt: skip


def report(rows: dict[str, Row]) -> str:
    """Truth and score of every setting, the first being what the others are compared with."""
    plain = next(iter(rows.values()))
    lines = ["| fusion | mIoU / pixels, % | score | ahead of the first |", "|---|---:|---:|---:|"]
    for name, row in rows.items():
        ahead = [ours - theirs for ours, theirs in zip(row.scores, plain.scores, strict=True)]
        error = stdev(ahead) / math.sqrt(len(ahead)) if len(ahead) > 1 else math.nan
        truth = f"{100 * row.truth.miou:.1f} / {100 * row.truth.accuracy:.1f}"
        lines.append(f"| {name} | {truth} | {fmean(row.scores):.4f} | {fmean(ahead):+.4f} +- {error:.4f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=4)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study = Study(open_recipe("demo"))
    for number, seed in enumerate(SCENES[: options.scenes], start=1):
        study.add(seed)
        print(f"{number} of {options.scenes} scenes", flush=True)
    print(report(study.rows))


if __name__ == "__main__":
    main()
