"""Tables beside label maps: rows from what was noted, shares of every panorama, and positions that cannot be right."""

from __future__ import annotations

import csv
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.classes import LabelSet
from pipeline.panorama.capture import Capture
from stages.map_tables import doubtful_positions, row_of_notes, unseen_panoramas, write_map_tables
from stages.positions import Positions, read_positions
from stages.tables import PanoramaRow

TWO = LabelSet("two", ("road", "traffic sign"), ((1, 2, 3), (4, 5, 6)), thin=())
NOTES: dict[str, Any] = {
    "file": "street/1.jpg", "capture": asdict(Capture(48.1, 11.5)), "seen": 0.9, "shares": [0.5, 0.25, 0.25],
    "sky_view_factor": 0.1, "doubt": 0.2, "vertical_fov": 135.0,
}  # fmt: skip
ROW = PanoramaRow("street/1.jpg", Capture(48.1, 11.5), 0.9, (0.5, 0.25, 0.25), 0.1, 0.2, 135.0)


def positions(folder: Path, text: str) -> Positions:
    (folder / "where.csv").write_text(f"path,latitude,longitude\n{text}\n")
    return read_positions(folder / "where.csv")


def test_a_row_has_what_was_noted() -> None:
    assert row_of_notes("street/1", NOTES, None) == ROW
    earlier = {key: value for key, value in NOTES.items() if key != "vertical_fov"}
    assert row_of_notes("street/1", earlier, None) == replace(ROW, vertical_fov=None)


def test_positions_of_a_table_go_before_those_of_the_tags(tmp_path: Path) -> None:
    row = row_of_notes("street/1", NOTES, positions(tmp_path, "street/1,10.5,20.5"))
    assert (row.capture.latitude, row.capture.longitude) == (10.5, 20.5)
    kept = row_of_notes("street/1", NOTES, positions(tmp_path, "other,10.5,20.5"))
    assert (kept.capture.latitude, kept.capture.longitude) == (48.1, 11.5)


@pytest.mark.parametrize("notes", [{}, {**NOTES, "capture": {"height": 3}}, {**NOTES, "shares": None}])
def test_other_notes_are_refused(notes: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError)):
        row_of_notes("street/1", notes, None)


def test_shares_are_a_table_by_panorama_and_class_beside_the_others(tmp_path: Path) -> None:
    rows = {"street/1": ROW, 'a, "b"': replace(ROW, shares=(1 / 3, 2 / 3, 0.0))}
    write_map_tables(tmp_path, rows, TWO)
    with (tmp_path / "class_shares.csv").open(newline="") as file:
        head, *lines = list(csv.reader(file))
    assert head == ["panorama", "road", "traffic sign", "ignored"]
    assert lines == [["street/1", "0.500000", "0.250000", "0.250000"],
                     ['a, "b"', "0.333333", "0.666667", "0.000000"]]  # fmt: skip
    with (tmp_path / "panoramas.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["street/1.jpg", "street/1.jpg"]
    assert (tmp_path / "labels.qml").is_file()


def test_positions_that_cannot_be_right_are_counted_and_the_first_is_named() -> None:
    doubted = [replace(ROW, path=f"{name}.jpg", capture=replace(ROW.capture, doubt="latitude 91")) for name in "ab"]
    assert doubtful_positions([ROW]) == doubtful_positions([]) == ""
    told = doubtful_positions([ROW, *doubted])
    assert told.startswith("2 of 3 panoramas have a position") and "(the first: a.jpg, latitude 91)" in told


def test_panoramas_of_which_nothing_is_seen_are_named() -> None:
    dark = [replace(ROW, path=f"{name}.jpg", seen=0.0) for name in "abcd"]
    assert unseen_panoramas([ROW]) == unseen_panoramas([]) == ""
    assert unseen_panoramas([ROW, dark[0]]).startswith("all pixels of 1 panorama are ignored (a.jpg)")
    assert unseen_panoramas(dark).startswith("all pixels of 4 panoramas are ignored (a.jpg, b.jpg, c.jpg, ...)")
