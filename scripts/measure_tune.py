"""Whether the scores of `goodsam tune` rank blends of the assistant as the truth does, on labelled scenes of the world.

    python -m scripts.measure_tune [--scenes 6] [--overcast] [--out cache/bench/tune.json]

The scenes are none that a network or another choice has seen; recipe, networks and masks are the demo's. Every blend of
the search's first round, and some of them with weights per pixel, are judged without labels and measured with them. A
scene takes half a minute; what was done before is kept.

Legend: C classes, H W panorama, N pixels.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from scipy.stats import rankdata

from pipeline.arrays import ImageArray
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.panorama.sphere import pixel_pitch, solid_angles
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.mask_source import load_mask_source
from pipeline.tune.blends import Blend, SeenPart, blend_of, parts_of
from pipeline.tune.judge import ROLL_DEGREES, JudgedPanorama, Judgement, mean_judgement
from pipeline.tune.mask_pixels import MaskPixels
from pipeline.tune.parts import GROUPS, predict_part, weights_of_group
from pipeline.tune.report import groups_table
from pipeline.tune.search import first_round
from pipeline.tune.sureness import Sureness, compare, less_sure, sureness
from pipeline.world import build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from stages.runs import open_recipe
from stages.views import shared_views

SCENES = MODEL_VALIDATION[6410:]
OVERCAST_SCENES = MODEL_VALIDATION[7000:]
"""Of these, those under a closed cover of clouds."""
_CLOSED = 0.8
"""Share of clouds from which a cover counts as closed."""
SCORES = ("score", "purity", "corrected_purity", "roll", "views", "mano", "snd")
Records = dict[str, dict[str, Any]]
"""By blend: the judgement, the confusion matrix of its labels with the truth, and its groups of views."""


class SceneScores(TypedDict):
    """What the file has of a scene."""

    blends: Records
    sureness: dict[str, Any]


class Study:
    """Judges blends without labels and measures them with labels."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._views = shared_views(recipe)
        self._assistant = load_assistant(recipe.assistant, torch.device("cpu"))
        self._masks = load_mask_source(recipe.sam, torch.device("cpu"))
        first = first_round(blend_of(recipe.assistant, recipe.views), GROUPS)
        by_pixel = [
            replace(blend, confidence_power=confidence, latitude_power=latitude)
            for blend in first
            if blend.windows > 0 and blend.views > 0
            for confidence, latitude in ((2.0, 0.0), (0.0, 1.0), (2.0, 1.0))
        ]
        self._blends = list(dict.fromkeys([*first, *by_pixel]))

    def measure(self, seed: int) -> SceneScores:
        """Judge and measure all blends on one scene."""
        size, classes = self._recipe.panorama, len(self._recipe.classes)
        scene = render_panorama(build_scene(seed), size.height, size.width)
        everywhere_HW = np.ones(scene.labels_HW.shape, np.bool_)
        masks = self._masks.many([view.cut_image(scene.image_HW3) for view in self._views])
        weights_HW = np.broadcast_to(solid_angles(size.height, size.width)[:, None], everywhere_HW.shape)
        cosines_HW = np.broadcast_to(np.cos(pixel_pitch(size.height, 180.0))[:, None], everywhere_HW.shape)
        mask_pixels = MaskPixels.of(self._views, masks, everywhere_HW)
        panorama = JudgedPanorama(mask_pixels, weights_HW.ravel(), classes, cosines_HW.ravel())
        columns = round(size.width * ROLL_DEGREES / 360)
        straight, agreements = self._see(scene.image_HW3, 0)
        rolled, _ = self._see(np.roll(scene.image_HW3, columns, axis=1), -columns)
        records: Records = {}
        for blend in self._blends:
            truth = ConfusionMatrix(classes)
            labels_N = panorama.labels(blend, straight)
            truth.add(scene.labels_HW, labels_N.reshape(everywhere_HW.shape))
            judged = panorama.judge(blend, straight, rolled, agreements)
            records[blend.label] = {"judged": asdict(judged), "truth": truth.matrix.tolist(), "groups": blend.groups}
        return {"blends": records, "sureness": asdict(sureness(straight, panorama.weights_N))}

    def _see(self, image_HW3: ImageArray, back: int) -> tuple[dict[str, SeenPart], dict[str, float]]:
        """All parts of a panorama, rolled by columns afterwards, and the agreement of their views."""
        recipe = self._recipe
        seen: dict[str, SeenPart] = {}
        agreements: dict[str, float] = {}
        for part in parts_of(Blend(0.5, 0.25, GROUPS), recipe.assistant, recipe.views):
            said = predict_part(part, recipe.panorama, image_HW3, image_HW3, self._views, self._assistant,
                                recipe.classes)  # fmt: skip
            rolled_CHW = np.roll(said.probabilities_CHW, back, axis=2)
            weights_HW = weights_of_group(part, recipe.panorama) if part.views else np.ones(rolled_CHW.shape[1:])
            weights_N = np.roll(weights_HW, back, axis=1).ravel().astype(np.float32)
            seen[part.kind] = SeenPart(rolled_CHW.reshape(len(rolled_CHW), -1), weights_N)
            agreements[part.kind] = said.agreement
        return seen, agreements


class Summary(NamedTuple):
    """A blend over all scenes."""

    label: str
    """Its parts."""
    mean: Judgement
    """Mean of the scores without labels."""
    miou: float
    """With labels, 0..1."""
    pixels: float
    """Share of the pixels that are right."""
    groups: tuple[str, ...] = ()
    """Of perspective views."""


def summaries(scenes: Sequence[Records]) -> list[Summary]:
    """Every blend over all scenes, the recipe's own first."""
    found: list[Summary] = []
    for label in scenes[0]:
        mean = mean_judgement([Judgement(**scene[label]["judged"]) for scene in scenes])
        matrix = np.sum([scene[label]["truth"] for scene in scenes], axis=0)
        truth = ConfusionMatrix(len(matrix))
        truth.matrix += matrix
        found.append(Summary(label, mean, truth.miou, truth.accuracy, tuple(scenes[0][label].get("groups", ()))))
    return found


def report(blends: Sequence[Summary], left_out: Sequence[str] = ()) -> str:
    """The blends, best first by truth, how the scores rank them, and what would be chosen.

    Args:
        blends: the recipe's own first.
        left_out: groups of views that may have no weight.
    """
    lines = ["| assistant sees | mIoU, % | pixels, % | score | purity | roll | views | MaNo | SND |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for blend in sorted(blends, key=lambda blend: -blend.miou):
        mean = blend.mean
        numbers = (mean.score, mean.purity, mean.roll, mean.views, mean.mano)
        lines.append(f"| {blend.label} | {100 * blend.miou:.1f} | {100 * blend.pixels:.1f} | "
                     f"{' | '.join(f'{number:.4f}' for number in numbers)} | {mean.snd:.3f} |")  # fmt: skip
    lines += ["", "| rank correlation of | with mIoU | with pixels right | its best blend, mIoU / pixels, % |",
              "|---|---:|---:|---:|"]  # fmt: skip
    for name in SCORES:
        known = [blend for blend in blends if not math.isnan(getattr(blend.mean, name))]
        values = [getattr(blend.mean, name) for blend in known]
        best = max(known, key=lambda blend: getattr(blend.mean, name))
        with_miou, with_pixels = (
            np.corrcoef(rankdata(values), rankdata([getattr(blend, truth) for blend in known]))[0, 1]
            for truth in ("miou", "pixels")
        )
        lines.append(
            f"| {name} | {with_miou:.2f} | {with_pixels:.2f} | {100 * best.miou:.1f} / {100 * best.pixels:.1f} |"
        )
    recipe, best = blends[0], max(blends, key=lambda blend: blend.miou)
    chosen = max((b for b in blends if not set(b.groups) & set(left_out)), key=lambda blend: blend.mean.score)
    lines += ["", f"views left out: {', '.join(left_out) or 'none'}",
              f"tune's choice: {100 * chosen.miou:.1f} / {100 * chosen.pixels:.1f} ({chosen.label})",
              f"the recipe's own: {100 * recipe.miou:.1f} / {100 * recipe.pixels:.1f}; "
              f"best in truth: {100 * best.miou:.1f} / {100 * best.pixels:.1f} ({best.label})"]  # fmt: skip
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--overcast", action="store_true", help="other scenes, all under a closed cover of clouds")
    parser.add_argument(
        "--out", type=Path, default=Path("cache/bench/tune.json"), help="has each scene once it is done"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study, seeds = Study(open_recipe("demo")), list(islice(scenes(overcast=options.overcast), options.scenes))
    done: dict[str, SceneScores] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for number, seed in enumerate(seeds, start=1):
        if str(seed) not in done:
            done[str(seed)] = study.measure(seed)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(done))
        print(f"{number} of {options.scenes} scenes", flush=True)
    found = [done[str(seed)] for seed in seeds]
    groups = compare([Sureness(**scene["sureness"]) for scene in found])
    print(report(summaries([scene["blends"] for scene in found]), less_sure(groups)))
    print(groups_table(groups))


def scenes(*, overcast: bool) -> Iterator[int]:
    """Seeds of the scenes that are measured, in their order."""
    if not overcast:
        return iter(SCENES)
    return (seed for seed in OVERCAST_SCENES if build_scene(seed).light.clouds >= _CLOSED)


if __name__ == "__main__":
    main()
