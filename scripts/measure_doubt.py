"""Which scores without labels tell how wrong a panorama's map is: rank correlations on the study's held-out scenes.

    python -m scripts.evidence --only methods --rows none
    python -m scripts.measure_doubt cache/evidence/cache/students/{<one>,<other>}/final

Each panorama has a share of wrong pixels in the first student's map and in the ensemble, and five scores, all larger
where a map deserves more doubt: the student's own `doubt` and the assistant's, the share of the sphere on which other
students say something else, what SAM's masks lack of being pure, and what overlapping windows lack of agreeing. Prints
Spearman's rank correlation of each score with each share, and its 95 % interval over the choice of panoramas.

Legend: N panoramas, R resamples, C classes, H W pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pipeline.arrays import BoolArray, LabelArray
from pipeline.classes import IGNORE
from pipeline.evaluate.indices import confidence, doubt
from pipeline.evaluate.metrics import labels_at, resize_nearest
from pipeline.panorama.sphere import solid_angles
from scripts.evidence.scenes import Scenes
from scripts.evidence.study import DEFAULT
from scripts.evidence.truth import read_truth
from scripts.evidence.work import Study
from stages.doubtful import most_doubtful
from stages.events import silent
from stages.predictor import StudentPredictor, load_predictor
from stages.reading import RunReader
from stages.splits import evaluation_panoramas

RESAMPLES = 1000
Scores = dict[str, list[float]]


def main(arguments: list[str] | None = None) -> None:
    """Score every held-out panorama, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", nargs="+", type=Path, help="two or more; the first one's map is judged")
    parser.add_argument("--out", type=Path, default=Path("cache/evidence"), help="folder of the study")
    options = parser.parse_args(arguments)
    if len(options.students) < 2:
        parser.error("one student has nobody to differ from")
    study = Study(options.out, Scenes(options.out / "scenes", 24, 8))
    reader = RunReader.open(study.run(DEFAULT), evaluation_panoramas(study.run(DEFAULT).recipe))
    students = [load_predictor(folder) for folder in options.students]
    scores: Scores = {}
    errors: Scores = {}
    for panorama_id in reader.ids:
        truth_HW = read_truth(study.scenes.held_out_labels, panorama_id)
        for name, value in of_students(students, reader.image(panorama_id), truth_HW, errors).items():
            scores.setdefault(name, []).append(value)
        teacher = reader.teacher(panorama_id)
        scores.setdefault("the assistant's doubt", []).append(own_doubt(teacher.assistant_CHW.max(axis=0)))
        ensemble_HW = resize_nearest(teacher.ensemble_HW, *truth_HW.shape)
        errors.setdefault("ensemble", []).append(differing(ensemble_HW, truth_HW, truth_HW != IGNORE))
        found = most_doubtful(reader, [panorama_id], {}, "doubt", silent)[0]
        scores.setdefault("1 - purity of SAM's masks", []).append(1 - found.purity)
        scores.setdefault("1 - agreement of windows", []).append(1 - found.agreement)
    print(table(scores, errors))


def of_students(
    students: Sequence[StudentPredictor], image_HW3: npt.NDArray[np.uint8], truth_HW: LabelArray, errors: Scores
) -> dict[str, float]:
    """The scores that students give of a panorama; the first one's share of wrong pixels is added to `errors`."""
    logits_Chw = students[0](image_HW3)
    first_HW, *others_HW = (labels_at(student(image_HW3), *truth_HW.shape) for student in students)
    everywhere_HW = np.ones_like(first_HW, bool)
    errors.setdefault("student", []).append(differing(first_HW, truth_HW, truth_HW != IGNORE))
    own = own_doubt(confidence(logits_Chw, are_probabilities=False))
    others = [differing(first_HW, other_HW, everywhere_HW) for other_HW in others_HW]
    return {"the student's doubt": own, "students differ": float(np.mean(others))}


def own_doubt(confidence_HW: npt.NDArray[np.floating]) -> float:
    """1 less the mean probability of the most probable class, of a whole sphere."""
    return doubt(confidence_HW, np.zeros_like(confidence_HW, bool), solid_angles(*confidence_HW.shape, 180.0)) or 0.0


def differing(one_HW: LabelArray, other_HW: LabelArray, counted_HW: BoolArray) -> float:
    """Share of the counted pixels, by solid angle, in which two label maps of whole spheres differ."""
    weights_HW = solid_angles(*one_HW.shape, 180.0)[:, None] * counted_HW
    return float((weights_HW * (one_HW != other_HW)).sum() / weights_HW.sum())


def table(scores: Scores, errors: Scores) -> str:
    """Rank correlations of all scores with all errors, as Markdown."""
    lines = [f"| score | {' | '.join(f'with what is wrong in the {name}' for name in errors)} |",
             f"| --- |{' ---: |' * len(errors)}"]  # fmt: skip
    for name, values_N in scores.items():
        cells = ["{:.2f} ({:.2f} to {:.2f})".format(*correlation(values_N, wrong_N)) for wrong_N in errors.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def correlation(one_N: Sequence[float], other_N: Sequence[float]) -> tuple[float, float, float]:
    """Spearman's rank correlation and the ends of its 95 % interval by bootstrap over the panoramas."""
    pairs_2N = np.array([one_N, other_N])
    rng = np.random.default_rng(0)
    draws_RN = rng.integers(len(one_N), size=(RESAMPLES, len(one_N)))
    low, high = np.percentile([_ranked(pairs_2N[:, draw_N]) for draw_N in draws_RN], (2.5, 97.5))
    return _ranked(pairs_2N), float(low), float(high)


def _ranked(pairs_2N: npt.NDArray[np.float64]) -> float:
    return float(np.corrcoef(rankdata(pairs_2N, axis=1))[0, 1])


if __name__ == "__main__":
    main()
