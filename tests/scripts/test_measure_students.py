"""Students measured on scenes: what is read, counted, and printed as a table of changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import LabelSet
from scripts import measure_students
from scripts.measure_students import main, matrix_of, read

TWO = LabelSet("two", ("road", "wall"), ((0, 0, 0), (255, 255, 255)), thin=())


class Bright:
    """A student that takes bright pixels for wall, and is wrong in some of its columns."""

    label_set = TWO

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def __call__(self, image_HW3: np.ndarray) -> np.ndarray:
        is_wall = image_HW3[..., 0] > 127
        is_wall[:, : self.wrong] = ~is_wall[:, : self.wrong]
        return np.stack([~is_wall, is_wall]).astype(np.float32)


def scene(folder: Path, seed: int) -> tuple[Path, Path]:
    labels = (np.random.default_rng(seed).random((8, 16)) < 0.5).astype(np.uint8)
    Image.fromarray(labels * 255).convert("RGB").save(folder / f"{seed}.png")
    Image.fromarray(labels).save(folder / f"{seed}_labels.png")
    return folder / f"{seed}.png", folder / f"{seed}_labels.png"


def matrix(student: Any, files: tuple[Path, Path]) -> np.ndarray:
    return matrix_of(student, *read(*files))


def test_a_scene_is_read_as_rgb_and_ids(tmp_path: Path) -> None:
    image_HW3, labels_HW = read(*scene(tmp_path, 1))
    assert (image_HW3.shape, image_HW3.dtype, labels_HW.dtype) == ((8, 16, 3), np.uint8, np.uint8)
    np.testing.assert_array_equal(image_HW3[..., 0], labels_HW * 255)


def test_a_matrix_has_the_truth_in_its_rows(tmp_path: Path) -> None:
    files = scene(tmp_path, 1)
    truth = read(*files)[1]
    right, half = matrix(Bright(0), files), matrix(Bright(8), files)
    np.testing.assert_array_equal(right, np.diag([(truth == 0).sum(), (truth == 1).sum()]))
    assert half[0, 1] == (truth[:, :8] == 0).sum() and half[1, 0] == (truth[:, :8] == 1).sum()


def test_changes_are_against_the_first_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = [scene(tmp_path, seed) for seed in range(3)]
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(measure_students, "rendered", lambda name, out: (asked.append((name, out)), scenes)[1])
    monkeypatch.setattr(measure_students, "load_predictor", lambda folder: Bright(int(folder.name)))
    main(["8", "0", "16", "--out", str(tmp_path)])
    head, line, half, right, wrong = capsys.readouterr().out.splitlines()
    assert head.count("|") == line.count("|") == half.count("|") == 5
    assert asked == [("measured", tmp_path)]
    assert half.startswith("| 8 | ") and half.split("|")[3].strip() == "" and half.endswith("| 50.0 |")
    assert right.startswith("| 0 | 100.0 | +") and right.endswith("| 100.0 |")
    assert wrong.startswith("| 16 | 0.0 | -") and wrong.endswith("| 0.0 |")
