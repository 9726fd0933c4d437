"""Folders of maps as the source of a report: what is read of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.classes import DENSEPASS_13, LabelSet
from pipeline.errors import InputError
from pipeline.panorama.capture import Capture
from stages.export_folder import DESCRIPTION
from stages.map_tables import write_map_tables
from stages.report.source import read_source
from stages.tables import PanoramaRow
from tests.stages.report_folder import NAMES, ROAD, make_maps, make_pictures


def test_a_table_with_text_in_the_place_of_a_number_is_refused(tmp_path: Path) -> None:
    table = make_maps(tmp_path / "maps", ["street"]) / "panoramas.csv"
    table.write_text(table.read_text().replace("0.25", "a quarter"))
    with pytest.raises(InputError, match=r"do not fit together \(could not convert string to float: 'a quarter'\)"):
        read_source(tmp_path / "maps")


def test_a_table_that_people_have_sorted_keeps_the_shares_of_every_panorama(tmp_path: Path) -> None:
    table = make_maps(tmp_path / "maps") / "panoramas.csv"
    before = {panorama.id: panorama for panorama in read_source(tmp_path / "maps").panoramas}
    header, *rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join((header, *reversed(rows))))
    after = read_source(tmp_path / "maps").panoramas
    assert [panorama.id for panorama in after] == list(reversed(NAMES))
    assert all(panorama == before[panorama.id] for panorama in after)
    table.write_text("".join((header, *rows)).replace("plain", "other"))
    with pytest.raises(InputError, match=r"do not fit together \(only one has other\)"):
        read_source(tmp_path / "maps")


@pytest.mark.parametrize("name", ["panoramas.csv", "class_shares.csv"])
def test_tables_that_a_spreadsheet_has_saved_with_a_byte_order_mark_are_read(tmp_path: Path, name: str) -> None:
    table = make_maps(tmp_path / "maps") / name
    before = read_source(tmp_path / "maps").panoramas
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert read_source(tmp_path / "maps").panoramas == before


@pytest.mark.parametrize("name", ["panoramas.csv", "class_shares.csv"])
@pytest.mark.parametrize("more", [",1,2", None])
def test_a_row_with_other_cells_than_the_first_is_refused(tmp_path: Path, name: str, more: str | None) -> None:
    table = make_maps(tmp_path / "maps", ["street"]) / name
    text = table.read_text().rstrip("\n")
    table.write_text(text.rpartition(",")[0] if more is None else text + more)
    with pytest.raises(InputError, match="do not fit together"):
        read_source(tmp_path / "maps")


def test_classes_may_be_called_as_columns_of_the_tables(tmp_path: Path) -> None:
    names = ("ignored", "panorama", "path")
    labels = LabelSet("mine", names, ((1, 2, 3), (4, 5, 6), (7, 8, 9)), thin=())
    write_map_tables(tmp_path, {"a": PanoramaRow("a.jpg", Capture(), 1.0, (0.5, 0.25, 0.25, 0.0), None, 0.1)}, labels)
    source = read_source(tmp_path)
    assert source.labels.names == names and source.panoramas[0].shares == (0.5, 0.25, 0.25, 0)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        read_source(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no maps \(panoramas\.csv is not there\)"):
        read_source(tmp_path)
    maps = make_maps(tmp_path / "maps", [])
    with pytest.raises(InputError, match="lists no panoramas"):
        read_source(maps)
    make_maps(tmp_path / "maps")
    with pytest.raises(InputError, match=r"holds none of the 3 panoramas \(the first is plain\.png\)"):
        read_source(maps, tmp_path)
    (maps / "class_shares.csv").write_text("panorama,road\nplain,1\n")
    with pytest.raises(InputError, match=r"do not fit together \(3 and 1 rows\)"):
        read_source(maps)
    (maps / "labels.qml").unlink()
    with pytest.raises(InputError, match=r"labels\.qml cannot be read \(No such file or directory\)"):
        read_source(maps)


def test_tables_maps_and_pictures_of_a_panorama_come_together(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps", exported=True, positions={0: (48.1, 11.5)}, vertical_fov=135)
    make_pictures(tmp_path / "photos", NAMES[:1])
    source = read_source(maps, tmp_path / "photos")
    assert source.title == "maps" and read_source(maps, title="Mine").title == "Mine"
    assert (source.labels.names, source.labels.palette) == (DENSEPASS_13.names, DENSEPASS_13.palette)
    first, second, _ = source.panoramas
    assert [panorama.id for panorama in source.panoramas] == list(NAMES)
    assert first.picture == tmp_path / "photos" / f"{NAMES[0]}.png" and second.picture is None
    assert set(first.maps) == {"labels", "reliability", "confidence", "masks"}
    assert first.maps["labels"] == maps / "labels" / f"{NAMES[0]}.png" and source.count("labels") == 3
    assert (first.position, second.position, first.vertical_fov) == ((48.1, 11.5), None, 135)
    assert len(first.shares) == len(DENSEPASS_13) + 1 and first.shares[ROAD] == 1
    assert (first.number("seen"), second.number("latitude"), first.number("no such column")) == (1, None, None)


def test_an_export_says_which_size_its_maps_have_and_whose_labels_they_are(tmp_path: Path) -> None:
    maps = make_maps(tmp_path / "maps")
    plain = read_source(maps)
    assert not plain.maps_are_level and dict(plain.layer_names) == {}
    for size, is_level in (("working", True), ("original", False)):
        (maps / DESCRIPTION).parent.mkdir(exist_ok=True)
        (maps / DESCRIPTION).write_text(json.dumps({"size": size}))
        source = read_source(maps)
        assert source.maps_are_level == is_level and source.layer_names["labels"] == "ensemble"
    (maps / DESCRIPTION).write_text("damaged")
    assert not read_source(maps).maps_are_level
