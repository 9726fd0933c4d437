"""What prompts that the assistant gives SAM are worth, beside or in place of some of the grid's, on labelled scenes.

    python -m scripts.measure_prompts [--scenes few] [--out cache/bench/fusion]

Scenes and cache are those of `scripts.measure_fusion`; every row is the demo's recipe with other prompts, through stage
one. A change is against the first row, over the choice of panoramas.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pipeline.classes import LabelSet
from pipeline.evaluate.bootstrap import miou_change_interval
from pipeline.evaluate.metrics import class_iou
from scripts.measure_fusion import FOLDER, SCENES, Scores, scenes_run, score
from stages.events import silent
from stages.reading import RunReader
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache

ROWS = {
    "8 x 8 points (the demo's)": (),
    "and things prompted": ("sam.prompt_things=true",),
    "6 x 6 points": ("sam.points_per_side=6",),
    "6 x 6 points and 28 in doubt": ("sam.points_per_side=6", "sam.points_in_doubt=28"),
    "8 x 8 points and 28 in doubt": ("sam.points_in_doubt=28",),
}
"""Settings of the rows."""


@dataclass(frozen=True)
class Measured:
    """What one row's settings give."""

    scores: Scores
    """Of the ensemble, panorama by panorama."""
    masks: float
    """Masks of a panorama, on average."""


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", choices=SCENES, default="few")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    classes, rows = None, dict[str, Measured]()
    for name, settings in ROWS.items():
        classes, rows[name] = measure(options.scenes, options.out, settings)
    if classes is not None:
        print(table(rows, classes))


def measure(scenes: str, out: Path, settings: tuple[str, ...]) -> tuple[LabelSet, Measured]:
    """The classes, and what stage one with these settings gives of some scenes."""
    run = scenes_run(scenes, out, settings)
    teacher_cache(run, silent, device="cpu")
    panoramas = learning_panoramas(run.recipe)
    reader, scores, masks = RunReader.open(run, panoramas), Scores(), 0
    for panorama in panoramas:
        teacher = reader.teacher(panorama.id)
        truth_HW = np.array(Image.open(Path(run.recipe.data.labels) / f"{panorama.path.stem}.png"))
        score(scores, truth_HW, teacher.ensemble_HW, teacher.reliable_HW, len(run.recipe.classes))
        masks += sum(len(own) for own in reader.masks(panorama.id))
    return run.recipe.classes, Measured(scores, masks / len(panoramas))


def table(rows: Mapping[str, Measured], classes: LabelSet) -> str:
    """The figures as Markdown, in per cent."""
    lines = ["| prompts | masks | mIoU, % | change | pixels, % | thin classes, IoU, % | cars, IoU, % |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    first = next(iter(rows.values())).scores.matrices_NCC
    for name, own in rows.items():
        matrices_NCC = own.scores.matrices_NCC
        iou_C, right = 100 * class_iou(matrices_NCC.sum(axis=0)), own.scores.right_N2.sum(axis=0)
        low, high = (100 * end for end in miou_change_interval(first, matrices_NCC))
        change = "" if np.array_equal(first, matrices_NCC) else f"{low:+.2f} to {high:+.2f}"
        lines.append(
            f"| {name} | {own.masks:.0f} | {np.nanmean(iou_C):.1f} | {change} | {100 * right[0] / right[1]:.1f} | "
            f"{_mean(iou_C, classes.thin):.1f} | {_mean(iou_C, [classes.names.index('car')]):.1f} |"
        )
    return "\n".join(lines)


def _mean(iou_C: npt.NDArray[np.float64], ids: tuple[int, ...] | list[int]) -> float:
    return float(np.nanmean(iou_C[list(ids)]))


if __name__ == "__main__":
    main()
