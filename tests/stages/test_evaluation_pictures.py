"""Pictures of an evaluation: the old ones stay until the new ones are there, and a bad name costs one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import CacheError
from stages.evaluation_pictures import EvaluationPictures
from stages.events import Event, ItemFailed, silent

PICTURE = np.full((4, 8, 3), 7, np.uint8)


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))


def draw(out: Path, *ids: str) -> EvaluationPictures:
    pictures = EvaluationPictures(out, silent)
    pictures.begin()
    for id_ in ids:
        pictures.add(id_, PICTURE)
    return pictures


def test_pictures_lie_under_the_ids_of_their_panoramas(tmp_path: Path) -> None:
    draw(tmp_path, "evaluation/a", "evaluation/deep/b").finish()
    assert names(tmp_path) == ["overlays/evaluation/a.png", "overlays/evaluation/deep/b.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "overlays/evaluation/a.png")), PICTURE)


def test_earlier_pictures_stay_until_all_new_ones_are_there(tmp_path: Path) -> None:
    draw(tmp_path, "a", "b").finish()
    pictures = draw(tmp_path, "c")
    assert {"overlays/a.png", "overlays/b.png"} < set(names(tmp_path))
    pictures.finish()
    assert names(tmp_path) == ["overlays/c.png"]


def test_what_a_killed_evaluation_left_is_not_taken_for_a_picture_of_this_one(tmp_path: Path) -> None:
    draw(tmp_path, "killed")
    draw(tmp_path, "a").finish()
    assert names(tmp_path) == ["overlays/a.png"]


def test_an_evaluation_without_pictures_removes_those_of_before(tmp_path: Path) -> None:
    draw(tmp_path, "a").finish()
    draw(tmp_path).finish()
    assert (tmp_path / "overlays").is_dir() and names(tmp_path) == []


def test_a_name_that_cannot_be_had_costs_one_picture(tmp_path: Path) -> None:
    events: list[Event] = []
    pictures = EvaluationPictures(tmp_path, events.append)
    pictures.begin()
    for id_ in ("a" * 300, "b"):
        pictures.add(id_, PICTURE)
    pictures.finish()
    (failed,) = [event for event in events if isinstance(event, ItemFailed)]
    assert failed.item == f"overlays/{'a' * 300}.png" and "Rename the panorama" in failed.error
    assert names(tmp_path) == ["overlays/b.png"]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(CacheError, match="cannot be written"):
        EvaluationPictures(tmp_path / "out", silent).begin()
