"""What adapting the assistant is worth, on scenes of the world that no network and no choice has seen.

    python -m scripts.measure_adapt demo demo.adapted.toml [--panoramas FOLDER --labels FOLDER] [--scenes 12]

Each recipe's assistant predicts every scene as stage one shows it to it: the whole image, and the blend. The recipes
differ in nothing else that matters here, so no masks are needed. Changes are against the first recipe, with 95 %
intervals over the panoramas. A scene takes some 15 seconds of a processor; what was predicted is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.arrays import ImageArray, LabelArray
from pipeline.evaluate.bootstrap import miou_change_interval
from pipeline.evaluate.metrics import ConfusionMatrix, best_class
from pipeline.recipe import Recipe
from pipeline.settings import fingerprint
from pipeline.teacher.assistant import Assistant, load_assistant
from pipeline.teacher.identity import assistant_identity
from pipeline.teacher.rectification import stitch_assistant
from scripts.measure_fusion import FOLDER, rendered
from scripts.measure_students import read
from stages.runs import open_recipe
from stages.views import assistant_views, shared_views

SHOWN = ("whole image", "blend")
Matrices = npt.NDArray[np.int64]
"""Confusion matrices of every panorama, [N, C, C]."""


def main(arguments: list[str] | None = None) -> None:
    """Render what is missing, predict, measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="+", help="the first is compared with")
    parser.add_argument("--panoramas", type=Path, help="labelled panoramas, instead of unseen scenes")
    parser.add_argument("--labels", type=Path, help="their labels, of the same names")
    parser.add_argument("--scenes", type=int, default=12, help="how many")
    parser.add_argument("--out", type=Path, default=FOLDER.parent / "adapt", help="folder of what was predicted")
    options = parser.parse_args(arguments)
    if options.panoramas:
        pictures = sorted(options.panoramas.glob("*.png"))
        scenes = [(picture, options.labels / picture.name) for picture in pictures]
    else:
        scenes = rendered("measured", FOLDER)
    scenes = scenes[: options.scenes]
    measured = {name: measure(open_recipe(name), scenes, options.out) for name in options.recipes}
    print(table(measured))


def measure(recipe: Recipe, scenes: Sequence[tuple[Path, Path]], out: Path) -> dict[str, Matrices]:
    """Confusion matrices of a recipe's assistant by what it is shown; those of every scene are kept in a file."""
    assistant: Assistant | None = None
    name = fingerprint(assistant_identity(recipe.assistant), dataclasses.asdict(recipe.views),
                       dataclasses.asdict(recipe.windows), recipe.assistant.whole_weight, recipe.assistant.views_weight,
                       recipe.assistant.window_scale, recipe.assistant.views_scale)  # fmt: skip
    found: list[npt.NDArray[np.int64]] = []
    for picture, labels in scenes:
        file = out / name / f"{picture.stem}.npy"
        if not file.exists():
            assistant = assistant or load_assistant(recipe.assistant, torch.device("cpu"))
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, matrices_of(recipe, assistant, *read(picture, labels)))
        found.append(np.load(file))
    matrices_NKCC = np.stack(found)
    return {kind: matrices_NKCC[:, place] for place, kind in enumerate(SHOWN)}


def matrices_of(
    recipe: Recipe, assistant: Assistant, image_HW3: ImageArray, truth_HW: LabelArray
) -> npt.NDArray[np.int64]:
    """Confusion matrices [2, C, C] on one panorama, of the whole image and the blend."""
    config = dataclasses.replace(recipe.assistant, feature_levels=())
    found = stitch_assistant(image_HW3, shared_views(recipe), assistant, config, recipe.classes,
                             more_views=assistant_views(recipe))  # fmt: skip
    matrices = [ConfusionMatrix(len(recipe.classes)) for _ in SHOWN]
    for matrix, probabilities_CHW in zip(matrices, (found.whole_CHW, found.assistant_CHW), strict=True):
        matrix.add(truth_HW, best_class(probabilities_CHW)[0])
    return np.stack([matrix.matrix for matrix in matrices])


def table(measured: dict[str, dict[str, Matrices]]) -> str:
    """The figures as Markdown."""
    lines = ["| recipe | shown | mIoU, % | change | pixels, % |", "| --- | --- | ---: | ---: | ---: |"]
    first = next(iter(measured.values()))
    for name, kinds in measured.items():
        for kind, matrices_NCC in kinds.items():
            total = ConfusionMatrix(matrices_NCC.shape[1])
            total.matrix = matrices_NCC.sum(axis=0)
            low, high = miou_change_interval(first[kind], matrices_NCC)
            change = "" if kinds is first else f"{100 * low:+.2f} to {100 * high:+.2f}"
            lines.append(f"| {name} | {kind} | {100 * total.miou:.1f} | {change} | {100 * total.accuracy:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
