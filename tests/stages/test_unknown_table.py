"""Objects that no class describes have a row each: where the object lies on the sphere, and how large it is there."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.classes import LabelSet
from pipeline.panorama.sphere import solid_angles
from pipeline.teacher.unknown import UnknownObjects
from stages.unknown_table import TABLE, unknown_rows, write_unknown_table

THREE = LabelSet("three", ("road", "wall", "sky"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), thin=())
HEIGHT, WIDTH = 32, 64


def objects(*boxes: tuple[slice, slice]) -> UnknownObjects:
    """Objects of the given rows and columns, numbered from 1."""
    numbers_HW = np.zeros((HEIGHT, WIDTH), np.uint16)
    for number, box in enumerate(boxes, start=1):
        numbers_HW[box] = number
    count = len(boxes)
    return UnknownObjects(
        numbers_HW=numbers_HW,
        probabilities_NC=np.tile(np.array([0.25, 0.5, 0.25], np.float32), (count, 1)),
        predicted_iou_N=np.linspace(0.875, 1, count, dtype=np.float32),
    )


def test_a_row_says_where_an_object_is_how_large_and_what_it_is_taken_for() -> None:
    """Columns 47 and 48 of 64 lie 90 degrees to the right; rows 4 to 7 of 32 at 56 degrees, by solid angle at 55."""
    (row,) = unknown_rows(objects((slice(4, 8), slice(47, 49))), THREE, 180)
    assert row["object"] == 1
    assert row["yaw"] == pytest.approx(90)
    assert row["pitch"] == pytest.approx(55.244, abs=0.05)
    assert row["solid_angle_sr"] == pytest.approx(2 * solid_angles(HEIGHT, WIDTH, 180)[4:8].sum())
    assert row["predicted_iou"] == 0.875
    assert row["entropy"] == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert (row["first_class"], row["first_probability"]) == ("wall", 0.5)
    assert (row["second_class"], row["second_probability"]) == ("road", 0.25), "of classes that are alike the first"


def test_an_object_across_the_seam_has_its_middle_there() -> None:
    numbers = objects((slice(15, 17), slice(0, 3)))
    numbers.numbers_HW[15:17, -3:] = 1
    (row,) = unknown_rows(numbers, THREE, 180)
    assert abs(row["yaw"]) == pytest.approx(180)
    assert row["pitch"] == pytest.approx(0, abs=1e-5)


def test_of_a_band_the_angles_are_the_bands() -> None:
    (row,) = unknown_rows(objects((slice(0, HEIGHT), slice(0, WIDTH))), THREE, 60)
    assert row["solid_angle_sr"] == pytest.approx(4 * math.pi * math.sin(math.radians(30)))


def test_the_table_has_the_objects_of_all_panoramas_the_largest_first(tmp_path: Path) -> None:
    small, large = (slice(15, 16), slice(0, 1)), (slice(10, 20), slice(20, 40))
    found = {"a": unknown_rows(objects(small), THREE, 180), "b": unknown_rows(objects(large, small), THREE, 180)}
    write_unknown_table(tmp_path, found)
    rows = list(csv.DictReader((tmp_path / TABLE).open()))
    assert [(row["panorama"], row["object"]) for row in rows] == [("b", "1"), ("a", "1"), ("b", "2")]
    assert rows[0]["first_class"] == "wall" and rows[0]["entropy"] == "0.946395"
    assert float(rows[0]["solid_angle_sr"]) == pytest.approx(found["b"][0]["solid_angle_sr"], rel=1e-5)


def test_without_objects_the_table_has_its_head_alone(tmp_path: Path) -> None:
    write_unknown_table(tmp_path, {"a": []})
    (head,) = (tmp_path / TABLE).read_text().splitlines()
    assert head.startswith("panorama,object,yaw,pitch,solid_angle_sr,")
