"""Tables of positions as people have them, and what is said of those that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.panorama.capture import Capture
from stages.events import Event, Note
from stages.positions import read_positions
from stages.predict import PredictJob, predict
from tests.stages.test_tables import job as job
from tests.stages.test_tables import read_csv, read_geojson


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "positions.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "path,latitude,longitude,altitude,heading,time\nberlin.png,52.5,13.4,34,370,2026-05-01T12:00:00Z\n",
        "Filename;Lon;Lat;alt;compass_angle;captured_at\nBERLIN;13.4;52.5;34;10;2026-05-01T12:00:00+00:00\n",
        "\ufeffx\ty\tz\tyaw\ttimestamp\tfile\n13.4\t52.5\t34\t10\t2026-05-01 12:00:00+00:00\tfolder\\berlin.PNG\n\n",
    ],
)
def test_usual_columns_separators_and_names_are_understood(tmp_path: Path, text: str) -> None:
    found = read_positions(table(tmp_path, text)).of("berlin", Capture())
    assert found == Capture(52.5, 13.4, 34, 10, "2026-05-01T12:00:00+00:00")


def test_commas_are_decimal_where_they_separate_no_cells(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path;lat;lon;time\nberlin;52,5;-13,4;2026-05-01T12:00:00,5+00:00\n"))
    found = positions.of("berlin", Capture())
    assert (found.latitude, found.longitude, found.time) == (52.5, -13.4, "2026-05-01T12:00:00.500000+00:00")
    with pytest.raises(InputError, match=r"has 5 cells in row 2; its first row has 3; numbers have a decimal point"):
        read_positions(table(tmp_path, "path,lat,lon\nberlin,52,5,13,4\n"))


def test_a_row_comes_before_tags_and_leaves_what_it_does_not_say(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path,lat,lon\na/1.jpg,1,2\n"))
    tags = Capture(50, 60, 7, 8, "2026-05-01T12:00:00", "latitude 95")
    assert positions.of("a/1", tags) == Capture(1, 2, 7, 8, "2026-05-01T12:00:00")
    assert positions.of("b/2", tags) == tags


def test_a_row_without_a_position_leaves_the_tags_and_spoils_no_other(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path,lat,lon,heading\na,,,90\nb,3,4,\n"))
    assert positions.of("a", Capture()) == Capture(heading=90)
    assert positions.of("a", Capture(1, 2, 7, 8, "", "latitude 95")) == Capture(1, 2, 7, 90, "", "latitude 95")
    assert positions.of("b", Capture()).longitude == 4


def test_a_name_that_two_rows_have_is_not_guessed(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path,lat,lon\na/1.jpg,1,2\nb/1.jpg,3,4\nb/2.jpg,5,6\n"))
    assert positions.of("1", Capture()) == Capture()
    assert positions.of("walk/2", Capture()).latitude == 5
    assert positions.of("b/1", Capture()).latitude == 3


def test_a_row_of_one_folder_places_no_panorama_of_another(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path,lat,lon\ncam1/1.jpg,1,2\n3,5,6\n"))
    tags = Capture(50, 8)
    told = positions.notes(["cam1/1", "cam2/1", "cam2/3", "3"])
    assert told == ["positions.csv has no row for 2 of 4 panoramas: cam2/1, cam2/3"]
    assert [positions.of(name, tags).latitude for name in ("cam1/1", "cam2/1", "3", "cam2/3")] == [1, 50, 5, 50]


def test_a_row_whose_name_several_panoramas_have_is_not_guessed(tmp_path: Path) -> None:
    positions = read_positions(table(tmp_path, "path,lat,lon\n1.jpg,1,2\nold/2.jpg,3,4\n"))
    assert positions.notes(["cam1/1", "cam2/1", "new/2"]) == [
        "positions.csv has no row for 2 of 3 panoramas: cam1/1, cam2/1",
        "positions.csv has one row 1, and 2 panoramas have that name: write the path of the one that is meant, as "
        "cam1/1",
    ]
    assert [positions.of(name, Capture()).latitude for name in ("cam1/1", "cam2/1", "new/2")] == [None, None, 3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"has no column path or latitude or longitude \(its columns: none\)"),
        ("path,lat\na,1\n", r"has no column longitude \(its columns: path, lat\)"),
        ("path,lat,lon\n", "has no rows"),
        ("path,lat,lon\na,95,1\n", "has latitude 95 in row 2; latitudes are -90 to 90"),
        ("path,lat,lon\na,1,200\n", "has longitude 200 in row 2"),
        ("path,lat,lon\na,,1\n", "has half a position in row 2"),
        ("path,lat,lon\na,1,1\nb,52\u00b030',13\n", 'has the latitude "52\u00b030\'" in row 3; it is a number'),
        ("path,lat,lon\na,0,0\n", "stand for a missing fix"),
        ("path,lat,lon\na,1,1\nA.jpg,1,1\n", r"has A\.jpg a second time in row 3"),
        ("path,lat,lon\n" + "a" * 200_000 + ",1,1\n", r"cannot be read \(field larger than field limit"),
        ('path,lat,lon\na,"52,5",1\n', "has the latitude '52,5' in row 2; it is a number with a decimal point"),
        ("path,lat,lon,time\na,1,1,noon\n", "has the time 'noon' in row 2; times are ISO 8601"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_positions(table(tmp_path, text))


def test_a_table_that_is_not_there_or_no_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"positions\.csv cannot be read \(No such file"):
        read_positions(tmp_path / "positions.csv")
    (tmp_path / "positions.csv").write_bytes(b"path,lat,lon\n\xff\xfe")
    with pytest.raises(InputError, match=r"positions\.csv cannot be read \(it is not in UTF-8\)"):
        read_positions(tmp_path / "positions.csv")


def test_the_tables_have_its_positions_and_it_is_reported_what_does_not_match(job: PredictJob, tmp_path: Path) -> None:
    path = table(tmp_path, "path,lat,lon\nnowhere.png,-1,-2\nberlin.png,3,4\nparis.png,5,6\n")
    events: list[Event] = []
    predict(replace(job, positions=path), events.append)
    assert [event.text for event in events if isinstance(event, Note)] == [
        "positions.csv has no row for 3 of 5 panoramas: new_york, rio, sydney",
        "positions.csv has rows without a panorama: paris",
    ]
    rows = read_csv(job.out)
    assert [rows[f"{name}.png"]["latitude"] for name in ("nowhere", "berlin", "rio")] == ["-1.0", "3.0", "-22.9"]
    assert all(feature["geometry"] for feature in read_geojson(job.out / "panoramas.geojson"))


def test_a_rerun_with_a_table_predicts_nothing_anew(job: PredictJob, tmp_path: Path) -> None:
    predict(job)
    summary = predict(replace(job, positions=table(tmp_path, "path,lat,lon\nnowhere.png,-1,-2\n")))
    assert (summary.done, read_csv(job.out)["nowhere.png"]["latitude"]) == (0, "-1.0")


def test_a_table_without_a_match_ends_the_run_before_anything_is_predicted(job: PredictJob, tmp_path: Path) -> None:
    path = table(tmp_path, "path,lat,lon\nparis.png,5,6\n")
    with pytest.raises(
        InputError, match=r"positions\.csv has no row for any of the 5 panoramas \(its first row is for paris\)"
    ):
        predict(replace(job, positions=path))
    assert not (job.out / "labels").exists()
