"""What SAM's masks are worth where SAM is shown perspective views in place of windows, or beside them.

    python -m scripts.measure_sam_views [--scenes 12] [--turned 4] [--out cache/bench/sam_views.json]

The labelled scenes of the world are none that a network or another choice has seen. The demo's SAM is shown the demo's
windows and every group of `views` once per scene; ways to show it a panorama (`sam.shown`) combine these masks, which
vote on the same blend of the demo's assistant, each alone or joined as in the demo's recipe. The first scenes are seen
a second time, turned by half a window's stride.

Legend: C classes, H W panorama.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.arrays import ImageArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.ensemble.compose import Fusion
from pipeline.evaluate.controls import FusionInput, oracle
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.config import VIEW_GROUPS, ViewsConfig
from pipeline.panorama.perspective import perspective_views
from pipeline.panorama.views import View
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.mask_source import load_mask_source
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.rectification import stitch_assistant
from pipeline.teacher.vote import fuse
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.runs import open_recipe
from stages.views import assistant_views, shared_views

SCENES = MODEL_VALIDATION[7600:]
DOWN = ("down", "nadir")
"""Groups of views that look down."""
ALONE: dict[str, Any] = {"join": 0.0}
"""Settings of fusion with which every mask votes alone."""
DOUBTFUL: dict[str, Any] = {"join_rule": "doubtful", "paint_from": 0.5}
"""Those with which joined masks keep a clear winner of their own."""
WAYS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "windows, joined (the demo's)": (("windows",), {}),
    "windows": (("windows",), ALONE),
    "level views": (("level",), ALONE),
    "views that look level or down": (("level", *DOWN), ALONE),
    "all views": (VIEW_GROUPS, ALONE),
    "windows and views that look down": (("windows", *DOWN), ALONE),
    "windows and all views": (("windows", *VIEW_GROUPS), ALONE),
    "all views, joined": (VIEW_GROUPS, {}),
    "all views, joined where doubtful": (VIEW_GROUPS, DOUBTFUL),
    "windows and all views, joined": (("windows", *VIEW_GROUPS), {}),
}
"""Ways to show SAM a panorama (`sam.shown`), and what they change of the demo's fusion."""


@dataclass
class Scores:
    """What one way gives over all scenes."""

    ensemble: ConfusionMatrix
    """Of E."""
    reliable: ConfusionMatrix
    """Of E_H."""
    oracle: ConfusionMatrix
    """Of masks with their true majority, the assistant elsewhere."""
    broken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list[float]))
    """Per scene, shares of neighbours whose labels differ without need, by place: see `needless_edges`."""
    changed: list[float] = field(default_factory=list[float])
    """Per turned scene, the share of pixels whose label the turn changes."""
    masks: list[int] = field(default_factory=list[int])
    """Number of masks, per scene."""
    seconds: list[float] = field(default_factory=list[float])
    """CPU seconds of the fusion, per scene."""


def _no_scores(classes: int) -> Scores:
    return Scores(ConfusionMatrix(classes), ConfusionMatrix(classes), ConfusionMatrix(classes))


@dataclass(frozen=True)
class SeenScene:
    """What networks say of one panorama."""

    known: FusionInput
    """The assistant's blend; no masks."""
    masks: dict[str, list[MaskSet]]
    """SAM's, by what it is shown: windows and groups of views."""


class Study:
    """Scores of all ways, scene by scene."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        size, cpu = recipe.panorama, torch.device("cpu")
        views = ViewsConfig()
        self.views: dict[str, tuple[View, ...]] = {
            "windows": shared_views(recipe),
            **{group: perspective_views(size.height, size.width, 180.0, views.only((group,))) for group in VIEW_GROUPS},
        }
        self._sam, self._assistant = load_mask_source(recipe.sam, cpu), load_assistant(recipe.assistant, cpu)
        self.scores = {name: _no_scores(len(recipe.classes)) for name in WAYS}
        self.alone = ConfusionMatrix(len(recipe.classes))
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, seed: int, is_turned: bool) -> None:
        """See and score one scene, and a second time turned."""
        size, columns = self._recipe.panorama, self._recipe.windows.stride_x // 2
        scene = render_panorama(build_scene(seed), size.height, size.width)
        seen = self.see(scene.image_HW3)
        self.alone.add(scene.labels_HW, seen.known.assistant_CHW.argmax(axis=0).astype(np.uint8))
        turned = self.see(np.roll(scene.image_HW3, columns, axis=1)) if is_turned else None
        for name in WAYS:
            fusion = self._score(name, self.input_of(seen, name), scene.labels_HW)
            if turned is not None:
                again = fused(self.input_of(turned, name))
                back_HW = np.roll(again.labels_HW, -columns, axis=1)
                self.scores[name].changed.append(float((back_HW != fusion.labels_HW).mean()))

    def see(self, image_HW3: ImageArray) -> SeenScene:
        """What the networks say of a panorama."""
        recipe = self._recipe
        masks: dict[str, list[MaskSet]] = {}
        for name, views in self.views.items():
            started = time.process_time()
            masks[name] = self._sam.many([view.cut_image(image_HW3) for view in views])
            self.seconds[name].append(time.process_time() - started)
        config = replace(recipe.assistant, feature_levels=())
        prediction = stitch_assistant(image_HW3, shared_views(recipe), self._assistant, config, recipe.classes,
                                      more_views=assistant_views(recipe))  # fmt: skip
        nothing_HW = np.zeros(image_HW3.shape[:2], np.bool_)
        known = FusionInput(prediction.assistant_CHW, prediction.agreement_HW, nothing_HW, (), (), recipe.classes,
                            recipe.fusion)  # fmt: skip
        return SeenScene(known, masks)

    def input_of(self, seen: SeenScene, way: str) -> FusionInput:
        """What fusion has where SAM is shown some views."""
        shown, settings = WAYS[way]
        views = [view for name in shown for view in self.views[name]]
        masks = [own for name in shown for own in seen.masks[name]]
        return replace(seen.known, views=views, masks=masks, config=replace(self._recipe.fusion, **settings))

    def _score(self, name: str, known: FusionInput, truth_HW: LabelArray) -> Fusion:
        scores, started = self.scores[name], time.process_time()
        fusion = fused(known)
        scores.seconds.append(time.process_time() - started)
        scores.masks.append(sum(len(own) for own in known.masks))
        scores.ensemble.add(truth_HW, fusion.labels_HW)
        scores.reliable.add(truth_HW, np.where(fusion.reliable_HW, fusion.labels_HW, np.uint8(IGNORE)))
        scores.oracle.add(truth_HW, oracle(known, truth_HW))
        for place, share in needless_edges(fusion.labels_HW, truth_HW, self._recipe.windows.stride_x).items():
            scores.broken[place].append(share)
        return fusion

    def rows(self) -> list[dict[str, Any]]:
        """One row per way; figures in per cent, seconds per panorama."""
        return [self._row(name) for name in WAYS]

    def _row(self, name: str) -> dict[str, Any]:
        scores, (shown, _) = self.scores[name], WAYS[name]
        covered = scores.reliable.matrix.sum() / scores.ensemble.matrix.sum()
        of_sam = sum(float(np.mean(self.seconds[group])) for group in shown)
        return {
            "SAM is shown": name,
            "assistant": [100 * self.alone.miou, 100 * self.alone.accuracy],
            "ensemble": [100 * scores.ensemble.miou, 100 * scores.ensemble.accuracy],
            "ensemble per class": (100 * np.asarray(scores.ensemble.per_class_iou)).tolist(),
            "reliable": [100 * scores.reliable.accuracy, 100 * float(covered)],
            "oracle": [100 * scores.oracle.miou, 100 * scores.oracle.accuracy],
            "broken": {place: 100 * float(np.mean(shares)) for place, shares in scores.broken.items()},
            "changed": 100 * float(np.mean(scores.changed)) if scores.changed else None,
            "masks": float(np.mean(scores.masks)),
            "pictures": sum(len(self.views[group]) for group in shown),
            "SAM, s": of_sam,
            "fusion, s": float(np.mean(scores.seconds)),
            "scenes": len(scores.masks),
        }


def fused(known: FusionInput) -> Fusion:
    """The ensemble."""
    return fuse(known.assistant_CHW, known.agreement_HW, known.ignored_HW, known.views, known.masks, known.label_set,
                known.config)  # fmt: skip


def needless_edges(labels_HW: LabelArray, truth_HW: LabelArray, stride: int) -> dict[str, float]:
    """Shares of neighbours side by side of one true class whose labels differ, in [0, 1].

    Args:
        labels_HW: found.
        truth_HW: true labels.
        stride: columns between the frames of windows, the first of which begins at column 0.

    Returns:
        At the seam, at the frames of windows (the seam is one), and at all other columns.
    """
    differs_HW, truly_HW = (of_HW != np.roll(of_HW, 1, axis=1) for of_HW in (labels_HW, truth_HW))
    by_column_W = (differs_HW & ~truly_HW).mean(axis=0)
    is_frame_W = np.arange(len(by_column_W)) % stride == 0
    return {"seam": float(by_column_W[0]), "frames": float(by_column_W[is_frame_W].mean()),
            "elsewhere": float(by_column_W[~is_frame_W].mean())}  # fmt: skip


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| SAM is shown | pictures | masks | ensemble, mIoU / pixels, % | reliable: right / of all, % | "
             "oracle, mIoU / pixels, % | needless edges at the seam / frames / elsewhere, % | changed by a turn, % | "
             "CPU s: SAM / fusion |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        (miou, pixels), (right, covered), (most, most_pixels) = row["ensemble"], row["reliable"], row["oracle"]
        broken, changed = row["broken"], row["changed"]
        lines.append(
            f"| {row['SAM is shown']} | {row['pictures']} | {row['masks']:.0f} | {miou:.1f} / {pixels:.1f} | "
            f"{right:.1f} / {covered:.1f} | {most:.1f} / {most_pixels:.1f} | {broken['seam']:.2f} / "
            f"{broken['frames']:.2f} / {broken['elsewhere']:.2f} | {'' if changed is None else f'{changed:.2f}'} | "
            f"{row['SAM, s']:.1f} / {row['fusion, s']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--turned", type=int, default=4, help="so many of them are seen a second time, turned")
    parser.add_argument("--out", type=Path, default=Path("cache/bench/sam_views.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    study = Study(open_recipe("demo"))
    for number, seed in enumerate(SCENES[: options.scenes]):
        study.add(seed, is_turned=number < options.turned)
        options.out.write_text(json.dumps(study.rows(), indent=1))
        print(f"{number + 1} of {options.scenes} scenes", flush=True)
    print(table(study.rows()))


if __name__ == "__main__":
    main()
