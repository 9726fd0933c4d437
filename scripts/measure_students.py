"""How good students are on 24 scenes of the world that no network and no choice has seen.

    python -m scripts.measure_students cache/students/*/final

The demo's own evaluation has 8 panoramas, on which a single wall or car is worth a point of mIoU. Changes are against
the first student, with 95 % intervals over the panoramas.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import LabelArray
from pipeline.evaluate.bootstrap import miou_change_interval
from pipeline.evaluate.metrics import ConfusionMatrix, labels_at
from scripts.measure_fusion import FOLDER, rendered
from stages.predictor import StudentPredictor, load_predictor


def main(arguments: list[str] | None = None) -> None:
    """Render what is missing, measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("students", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the scenes, those of measure_fusion")
    options = parser.parse_args(arguments)
    scenes = rendered("measured", options.out)
    print("| student | mIoU, % | change | pixels, % |\n| --- | ---: | ---: | ---: |")
    first: npt.NDArray[np.int64] | None = None
    for folder in options.students:
        student = load_predictor(folder)
        matrices_NCC = np.stack([matrix_of(student, *read(*files)) for files in scenes])
        change = "" if first is None else "{:+.2f} to {:+.2f}".format(*_percent(first, matrices_NCC))
        first = matrices_NCC if first is None else first
        total = ConfusionMatrix(len(student.label_set))
        total.matrix = matrices_NCC.sum(axis=0)
        print(f"| {folder} | {100 * total.miou:.1f} | {change} | {100 * total.accuracy:.1f} |")


def read(image: Path, labels: Path) -> tuple[npt.NDArray[np.uint8], LabelArray]:
    """RGB image [H, W, 3] and true labels [H, W] of a rendered scene."""
    return np.array(Image.open(image).convert("RGB")), np.array(Image.open(labels))


def matrix_of(
    student: StudentPredictor, image_HW3: npt.NDArray[np.uint8], truth_HW: LabelArray
) -> npt.NDArray[np.int64]:
    """The student's confusion matrix [C, C] on one panorama."""
    matrix = ConfusionMatrix(len(student.label_set))
    matrix.add(truth_HW, labels_at(student(image_HW3), *truth_HW.shape))
    return matrix.matrix


def _percent(first_NCC: npt.NDArray[np.int64], own_NCC: npt.NDArray[np.int64]) -> tuple[float, float]:
    low, high = miou_change_interval(first_NCC, own_NCC)
    return 100 * low, 100 * high


if __name__ == "__main__":
    main()
