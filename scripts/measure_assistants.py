"""What a second assistant is worth: alone, in the mean with the first, and where both must agree.

    python -m scripts.measure_assistants [--scenes study-c] [--second FOLDER]

On scenes of the world that no network and no choice has seen, the demo's assistant stands beside the network where the
demo's student begins. Stage one of the demo's recipe sees the scenes once with both (`further_assistants`); then every
row fuses what it has cached. *Right at equal coverage* ranks what a row calls reliable by the blend's confidence and
takes as much of it as both assistants agree on, so that rows which call more reliable are compared on as much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import FloatArray, LabelArray
from pipeline.cache import codec
from pipeline.classes import IGNORE, LabelSet
from pipeline.ensemble.assistants import count_agreeing, weighted_mean
from pipeline.ensemble.compose import Fusion, compose
from pipeline.evaluate.controls import FusionInput
from pipeline.evaluate.metrics import ConfusionMatrix
from pipeline.pretrained import DEMO
from pipeline.teacher.vote import fuse, vote_in_views
from scripts.measure_fusion import ALL_SCENES, FOLDER, Scores, row, scenes_run, score
from stages.events import silent
from stages.plan import make_plan
from stages.product_settings import assistants_of
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.teacher_cache import teacher_cache
from stages.views import sam_views

BINS = 1000
"""Of confidence."""
HARDLY = np.float32(0.01)
"""How much the vote of a pixel counts on which the assistants differ, in the row that has it count less."""


class Row(NamedTuple):
    """What a row of the table does with two assistants."""

    weights: tuple[float, float]
    """Of both in their mean."""
    agree: int = 0
    """`fusion.agree`."""
    votes: str = "labels"
    """`fusion.votes`."""
    disputed_vote: bool = True
    """Whether pixels on which they differ have a whole vote."""


ONE, AGREED = "the demo's assistant", "two averaged, agree = 2"
ROWS: Mapping[str, Row] = {
    ONE: Row((1, 0)),
    "the student's start": Row((0, 1)),
    "two averaged": Row((1, 1)),
    AGREED: Row((1, 1), agree=2),
    "two, the second at half weight": Row((1, 0.5)),
    "two, the second at no weight, agree = 2": Row((1, 0), agree=2),
    "the demo's assistant, votes by confidence": Row((1, 0), votes="confidence"),
    "two averaged, votes by confidence": Row((1, 1), votes="confidence"),
    "the same, pixels in dispute hardly vote": Row((1, 1), votes="confidence", disputed_vote=False),
}


@dataclass
class RowScores:
    """What one row gives."""

    blend: Scores = field(default_factory=Scores)
    """Of the probabilities that vote."""
    fused: Scores = field(default_factory=Scores)
    """Of E and E_H."""
    right_B: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """Reliable pixels of E that are right, by the blend's confidence."""
    all_B: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """All reliable pixels."""

    def add(self, known: FusionInput, found: Fusion, truth_HW: LabelArray) -> None:
        """Count one panorama."""
        classes, everywhere = len(known.label_set), np.ones(truth_HW.shape, np.bool_)
        confidence_HW = known.assistant_CHW.max(axis=0)
        score(self.blend, truth_HW, known.assistant_CHW.argmax(axis=0).astype(np.uint8), everywhere, classes)
        score(self.fused, truth_HW, found.labels_HW, found.reliable_HW, classes)
        counted_HW = found.reliable_HW & (truth_HW != IGNORE)
        bins_HW = np.minimum((confidence_HW * BINS).astype(np.intp), BINS - 1)
        self.all_B += np.bincount(bins_HW[counted_HW], minlength=BINS)
        self.right_B += np.bincount(bins_HW[counted_HW & (found.labels_HW == truth_HW)], minlength=BINS)

    def right_at(self, pixels: int) -> float:
        """Share of its so many most confident reliable pixels that are right; nan where there are fewer."""
        covered_B, right_B = np.cumsum(self.all_B[::-1]), np.cumsum(self.right_B[::-1])
        if covered_B[-1] < pixels:
            return float("nan")
        return float(np.interp(pixels, covered_B, right_B)) / pixels


def main(arguments: list[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", choices=ALL_SCENES, default="study-c")
    parser.add_argument("--second", type=Path, default=DEMO / "student_start", help="folder of a network")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    run = run_of_two(options.scenes, options.out, options.second)
    seconds = make_plan(run, silent, device="cpu").seconds_per_panorama
    teacher_cache(run, silent, device="cpu")
    rows = rows_of(measure(run), run.recipe.classes)
    record = {"rows": rows, "seconds": seconds}
    (options.out / f"{options.scenes}-two.json").write_text(json.dumps(record, indent=1))
    print(table(rows))
    print(", ".join(f"{product} {taken:.1f} s" for product, taken in seconds.items()))


def run_of_two(scenes: str, out: Path, second: Path) -> Run:
    """The run of stage one over some scenes with the demo's assistant and another, which is shown the same."""
    run = scenes_run(scenes, out, ())
    first = run.recipe.assistant
    shown = ("window_scale", "whole_scale", "whole_weight", "views_weight", "views_scale", "confidence_power")
    settings = ", ".join(f"{key} = {getattr(first, key)}" for key in shown)
    further = f'[{{kind = "transformers", name = "{second.absolute()}", label_set = "{first.label_set}", {settings}}}]'
    return scenes_run(scenes, out, (f"further_assistants={further}",))


def measure(run: Run) -> dict[str, RowScores]:
    """Scores of every row over the run's panoramas."""
    panoramas, scores = learning_panoramas(run.recipe), {name: RowScores() for name in ROWS}
    reader, views = RunReader.open(run, panoramas), sam_views(run.recipe)
    for panorama in panoramas:
        truth_HW = np.array(Image.open(Path(run.recipe.data.labels) / f"{panorama.path.stem}.png"))
        teacher, masks = reader.teacher(panorama.id), reader.masks(panorama.id)
        agreements = [codec.decode_unit(reader.read(name, panorama.id, ("agreement",))["agreement"])
                      for name in assistants_of(run.recipe)]  # fmt: skip
        for name, of_row in ROWS.items():
            blend_CHW = weighted_mean(teacher.own_CHW, of_row.weights)
            agreement_HW = weighted_mean(agreements, of_row.weights)
            config = replace(run.recipe.fusion, votes=of_row.votes)
            known = FusionInput(blend_CHW, agreement_HW, teacher.ignored_HW, views, masks, run.recipe.classes, config)
            scores[name].add(known, _fused(known, of_row, teacher.own_CHW), truth_HW)
    return scores


def _fused(known: FusionInput, of_row: Row, own: tuple[FloatArray, ...]) -> Fusion:
    """The ensemble of one row."""
    disputed_HW = count_agreeing(known.assistant_CHW, own) < len(own)
    of_panorama = (known.agreement_HW, known.ignored_HW, known.views)
    if of_row.disputed_vote:
        return fuse(known.assistant_CHW, *of_panorama, known.masks, known.label_set, known.config,
                    disputed_HW if of_row.agree else None)  # fmt: skip
    voting_CHW = known.assistant_CHW * np.where(disputed_HW, HARDLY, np.float32(1))
    regions = vote_in_views(voting_CHW, known.ignored_HW, known.views, known.masks, known.label_set, known.config)
    return compose(known.assistant_CHW, *of_panorama, regions, known.label_set, known.config)


def rows_of(scores: Mapping[str, RowScores], classes: LabelSet) -> list[dict[str, Any]]:
    """The figures of every row, in per cent."""
    one = scores[ONE]
    agreed = int(scores[AGREED].all_B.sum())
    found: list[dict[str, Any]] = []
    for name, own in scores.items():
        blend = ConfusionMatrix(len(classes))
        blend.matrix = own.blend.matrices_NCC.sum(axis=0)
        figures = row(name, own.fused, one.fused, own.blend, classes)
        equal = 100 * own.right_at(agreed)
        found.append(figures | {"blend": [100 * blend.miou, 100 * blend.accuracy], "right at equal coverage": equal})
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| assistants | blend, mIoU / pixels, % | ensemble, mIoU / pixels, % | change of its mIoU | "
             "reliable: right / of all, % | right at equal coverage, % |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for own in rows:
        (low, high), blend = own["miou change"], own["blend"]
        change = f"{low:+.1f} to {high:+.1f}" if low or high else ""
        lines.append(
            f"| {own['option']} | {blend[0]:.1f} / {blend[1]:.1f} | {own['miou']:.1f} / {own['pixels']:.1f} | "
            f"{change} | "
            f"{own['reliable right']:.1f} / {own['reliable coverage']:.1f} | {own['right at equal coverage']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
