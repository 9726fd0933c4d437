"""The way of the camera as lines: folders, order, leaps, length, and the date line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.panorama.capture import Capture
from stages.sequences import LONGEST_GAP, LONGEST_STEP, sequence_features
from stages.tables import PanoramaRow

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
METRE = 1 / 111_195.0
"""Degrees of latitude."""


def row(path: str, latitude: float | None, longitude: float | None, seconds: float | None) -> PanoramaRow:
    """A panorama taken some seconds after noon; None for what its tags do not say."""
    time = "" if seconds is None else (NOON + timedelta(seconds=seconds)).isoformat()
    return PanoramaRow(path, Capture(latitude, longitude, time=time), 1.0, (1.0,), None, 0.1)


def walk(*places: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Lines of one folder, from (latitude, longitude, seconds after noon)."""
    return sequence_features([row(f"{number}.jpg", *place) for number, place in enumerate(places)])


def test_the_order_is_that_of_the_times_and_the_length_that_on_the_earth() -> None:
    (line,) = walk((50 + 100 * METRE, 7, 20), (50, 7, 0), (50 + 150 * METRE, 7, 40))
    assert [latitude for _, latitude in line["geometry"]["coordinates"]] == pytest.approx(
        [50, 50 + 100 * METRE, 50 + 150 * METRE], abs=1e-6)  # fmt: skip
    assert line["properties"]["metres"] == pytest.approx(150, abs=0.2)
    assert (line["properties"]["begin"], line["properties"]["panoramas"]) == (NOON.isoformat(), 3)
    assert line["properties"]["end"] == (NOON + timedelta(seconds=40)).isoformat()


def test_times_without_an_offset_stay_local() -> None:
    texts = ["2026-05-01T12:30:00", "2026-05-01T12:30:07"]
    rows = [PanoramaRow(f"{number}.jpg", Capture(50, 7, time=text), 1.0, (1.0,), None, 0.1)
            for number, text in enumerate(texts)]  # fmt: skip
    (line,) = sequence_features(rows)
    assert [line["properties"]["begin"], line["properties"]["end"]] == texts


def test_degrees_of_longitude_are_shorter_the_nearer_the_pole() -> None:
    lengths = [walk((latitude, 7, 0), (latitude, 7 + 300 * METRE, 10))[0]["properties"]["metres"]
               for latitude in (0.0, 60.0)]  # fmt: skip
    assert lengths == pytest.approx([300, 150], abs=0.3)


def test_coordinates_are_longitude_first_and_to_the_centimetre() -> None:
    (line,) = walk((50.123456789, 7.5, 0), (50.1235, 7.5, 5))
    assert line["geometry"]["coordinates"][0] == [7.5, 50.1234568]


def test_each_folder_has_lines_of_its_own_in_the_order_of_their_names() -> None:
    rows = [row("b/1.jpg", 50, 7, 0), row("a/x/1.jpg", 50, 7, 1), row("b/2.jpg", 50.001, 7, 2),
            row("a/x/2.jpg", 50.001, 7, 3), row("3.jpg", 50, 7, 4)]  # fmt: skip
    assert [line["properties"]["folder"] for line in sequence_features(rows)] == ["a/x", "b"]


@pytest.mark.parametrize(
    ("seconds", "metres", "lines"),
    [(LONGEST_GAP - 1, 10, 1), (LONGEST_GAP + 1, 10, 2), (10, LONGEST_STEP - 5, 1), (10, LONGEST_STEP + 5, 2)],
    ids=["a pause", "too long a pause", "a step", "too long a step"],
)
def test_a_leap_begins_another_line(seconds: float, metres: float, lines: int) -> None:
    north = 50 + metres * METRE
    places = [(50 - METRE, 7, -5), (50, 7, 0), (north, 7, seconds), (north + METRE, 7, seconds + 5)]
    found = walk(*places)
    assert [line["properties"]["panoramas"] for line in found] == ([4] if lines == 1 else [2, 2])


def test_panoramas_without_time_or_place_are_no_stops() -> None:
    rows = [row("1.jpg", 50, 7, 0), row("2.jpg", None, 7, 5), row("3.jpg", 50, 7, None), row("4.jpg", 50.001, 7, 10)]
    (line,) = sequence_features(rows)
    assert line["properties"]["panoramas"] == 2
    assert sequence_features(rows[:3]) == []


def test_a_time_without_a_zone_is_ordered_as_that_of_greenwich() -> None:
    rows = [row("1.jpg", 50, 7, 0), PanoramaRow("2.jpg", Capture(50.001, 7, time="2026-05-01T12:00:30"), 1.0, (1.0,),
                                                None, 0.1)]  # fmt: skip
    (line,) = sequence_features(rows)
    assert line["properties"]["end"] == "2026-05-01T12:00:30"


@pytest.mark.parametrize("east", [True, False], ids=["eastwards", "westwards"])
def test_at_the_date_line_a_line_is_cut_and_both_parts_reach_it_at_the_same_latitude(east: bool) -> None:
    side = 1 if east else -1
    (line,) = walk((10, side * 179.999, 0), (10.001, side * -179.999, 10), (10.002, side * -179.998, 20))
    assert line["geometry"]["type"] == "MultiLineString"
    before, after = line["geometry"]["coordinates"]
    assert before == [[side * 179.999, 10], [side * 180, pytest.approx(10.0005)]]
    assert after[0] == [side * -180, pytest.approx(10.0005)] and len(after) == 3
