"""An epoch from the cache and one with the teacher online are measured, and compared panorama by panorama."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from scripts import measure_epoch
from scripts.measure_epoch import seconds_from_cache, table, teacher_seconds, write_panoramas
from tests.stages.small_run import make_folders, small_run


def test_the_ratio_is_of_an_epoch_with_the_teacher_to_one_without() -> None:
    rows = table(2.0, {"SAM": 30.0, "assistant, windows": 8.0}).splitlines()
    assert rows[-4:] == ["| teacher | 38.00 |", "| epoch from the cache | 2.00 |", "| epoch online | 40.00 |",
                         "| ratio | 20.0 |"]  # fmt: skip


def test_seconds_of_some_windows_are_scaled_to_all(tmp_path: Path) -> None:
    make_folders(tmp_path)
    recipe = small_run(tmp_path).recipe
    image_HW3 = write_panoramas(tmp_path / "new", 1, recipe)
    assert image_HW3.shape == (64, 128, 3)
    with patch.object(measure_epoch, "seconds_of", side_effect=lambda work: (work(), 1.5)[1]):
        found = teacher_seconds(recipe, image_HW3, images=1)
    windows = 2
    assert found == {"SAM": windows * 1.5, "assistant, windows": windows * 1.5, "assistant, views": 0,
                     "assistant, whole": 1.5}  # fmt: skip


@pytest.mark.slow
def test_an_epoch_takes_as_many_steps_as_its_panoramas_need(tmp_path: Path) -> None:
    make_folders(tmp_path)
    recipe = small_run(tmp_path, data={"evaluation": ""}).recipe
    epochs: list[object] = []
    with patch.object(measure_epoch, "seconds_of", side_effect=lambda work: (work(), epochs.append(work), 6.0)[2]):
        assert seconds_from_cache(recipe, tmp_path / "cache", times=2) == 2.0, "six seconds, three panoramas"
    assert len(epochs) == 2
