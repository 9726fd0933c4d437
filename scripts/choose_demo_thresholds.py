"""What settings of the mask generator are worth to the ensemble, on panoramas that neither demo nor evaluation uses.

    python -m scripts.choose_demo_thresholds --points 6 8 --iou 0.5 0.7 --stability 0.7 0.85 --nms 0.7

The assistant is asked once; each combination of settings then gives its masks, the ensemble of the demo recipe, and a
line: mIoU of ensemble and reliable ensemble (with its coverage), masks per window, their coverage and achievable
accuracy, CPU seconds of the masks per window. The panoramas come from MODEL_VALIDATION.

Legend: H W panorama.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.classes import IGNORE
from pipeline.evaluate.ladder import LadderInput, Rung, measure_ladder
from pipeline.evaluate.metrics import LabelArray
from pipeline.evaluate.report import COMPLETE, percent
from pipeline.panorama.windows import Window, cut, window_grid
from pipeline.recipe import Recipe
from pipeline.teacher.assistant import load_assistant
from pipeline.teacher.config import SamConfig
from pipeline.teacher.masks import MaskSet
from pipeline.teacher.rectification import AssistantPrediction, stitch_assistant
from pipeline.teacher.sam import SamMaskGenerator, load_sam
from pipeline.teacher.vote import fuse
from pipeline.world import View, build_scene, render_panorama
from pipeline.world.seeds import MODEL_VALIDATION
from scripts.evaluate_demo_sam import achievable, segments_of
from stages.runs import open_recipe
from stages.views import assistant_views

SCENES = MODEL_VALIDATION[500:]
"""Apart from the scenes on which the networks themselves are measured."""
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Panorama:
    """A rendered panorama and what the assistant says about it."""

    truth: View
    view: AssistantPrediction


def rendered_panoramas(recipe: Recipe, windows: tuple[Window, ...], count: int) -> list[Panorama]:
    """The validation panoramas, each shown to the assistant."""
    assistant = load_assistant(recipe.assistant, CPU)
    settings = dataclasses.replace(recipe.assistant, feature_levels=())
    views = [render_panorama(build_scene(seed), recipe.panorama.height, recipe.panorama.width)
             for seed in SCENES[:count]]  # fmt: skip
    more = assistant_views(recipe)
    return [
        Panorama(v, stitch_assistant(v.image_HW3, windows, assistant, settings, recipe.classes, more_views=more))
        for v in views
    ]


def describe(rungs: list[Rung]) -> str:
    """Rungs with mIoU and, where it is not everything, coverage."""
    parts = [
        f"{r.name} {percent(r.miou)}" + (f" ({percent(r.coverage)} %)" if r.coverage < COMPLETE else "") for r in rungs
    ]
    return "  ".join(parts)


def try_settings(panoramas: list[Panorama], windows: tuple[Window, ...], recipe: Recipe, sam: SamConfig) -> str:
    """One line for one set of settings."""
    generator = SamMaskGenerator(load_sam(sam, CPU), sam)
    began = time.process_time()
    masks = [[generator(cut(p.truth.image_HW3, window)) for window in windows] for p in panoramas]
    seconds = (time.process_time() - began) / (len(panoramas) * len(windows))
    inputs = [LadderInput(p.truth.labels_HW, ensembles(p, windows, own, recipe))
              for p, own in zip(panoramas, masks, strict=True)]  # fmt: skip
    rungs = measure_ladder(inputs, len(recipe.classes))
    return f"{describe(rungs)}  {quality(panoramas, windows, masks)}  {seconds:.3f} s"


def ensembles(
    panorama: Panorama, windows: tuple[Window, ...], masks: list[MaskSet], recipe: Recipe
) -> dict[str, LabelArray]:
    """E and E_H."""
    ignored = np.zeros(panorama.view.agreement_HW.shape, bool)
    found = fuse(panorama.view.assistant_CHW, panorama.view.agreement_HW, ignored, windows, masks, recipe.classes,
                 recipe.fusion)  # fmt: skip
    return {
        "ensemble": found.labels_HW,
        "ensemble_reliable": np.where(found.reliable_HW, found.labels_HW, np.uint8(IGNORE)),
    }


def quality(panoramas: list[Panorama], windows: tuple[Window, ...], masks: list[list[MaskSet]]) -> str:
    """Masks per window, coverage and achievable accuracy of their segments."""
    found = [
        (len(own), *achievable(segments_of(own), cut(p.truth.labels_HW, window).astype(np.int32)))
        for p, sets in zip(panoramas, masks, strict=True)
        for window, own in zip(windows, sets, strict=True)
    ]
    count, coverage, accuracy = np.nanmean(found, axis=0)
    return f"masks {count:.1f} coverage {coverage:.3f} ASA {accuracy:.3f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--weights", default="", help="weights of SAM; the embedded ones if not given")
    parser.add_argument("--panoramas", type=int, default=4)
    parser.add_argument("--points", type=int, nargs="+", default=[6])
    parser.add_argument("--iou", type=float, nargs="+", default=[0.5])
    parser.add_argument("--stability", type=float, nargs="+", default=[0.7])
    parser.add_argument("--nms", type=float, nargs="+", default=[0.7])
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = open_recipe(options.recipe)
    windows = window_grid(recipe.panorama.height, recipe.panorama.width, recipe.windows)
    panoramas = rendered_panoramas(recipe, windows, options.panoramas)
    seen = [LadderInput(p.truth.labels_HW, {"assistant_whole": p.view.whole_CHW.argmax(0).astype(np.uint8),
                                            "assistant_blend": p.view.assistant_CHW.argmax(0).astype(np.uint8)})
            for p in panoramas]  # fmt: skip
    print(describe(measure_ladder(seen, len(recipe.classes))), flush=True)
    for points, iou, stability, nms in itertools.product(options.points, options.iou, options.stability, options.nms):
        sam = dataclasses.replace(recipe.sam, checkpoint=options.weights, points_per_side=points, pred_iou_thresh=iou,
                                  stability_score_thresh=stability, box_nms_thresh=nms)  # fmt: skip
        line = try_settings(panoramas, windows, recipe, sam)
        print(f"points {points} iou {iou} stability {stability} nms {nms}: {line}", flush=True)


if __name__ == "__main__":
    main()
