"""What can be imported: found in folders and archives as tools leave them, and refused in words where it is not."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13
from pipeline.errors import InputError
from stages.corrections import pixels_digest
from stages.import_sources import Incoming, incoming
from stages.label_files import write_labels

LABELS_hw = np.arange(8, dtype=np.uint8).reshape(2, 4)
CVAT = """<annotations><image id="0" name="street/a.jpg" width="4" height="2">
<mask label="car" rle="3, 5" left="0" top="0" width="4" height="2" z_order="0"/></image></annotations>"""


def found(source: Path) -> list[Incoming]:
    return list(incoming(source, DENSEPASS_13))


def save(path: Path, labels_hw: np.ndarray = LABELS_hw) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels_hw).save(path)
    return path


def zipped(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def assert_is_cvat(items: list[Incoming]) -> None:
    (item,) = items
    assert item.picture is not None
    assert (item.name, item.refused) == ("street/a.jpg", None)
    assert item.picture.labels_hw.tolist() == [[255, 255, 255, 12], [12, 12, 12, 12]]


def test_every_png_of_a_folder_is_a_picture_under_its_path(tmp_path: Path) -> None:
    save(tmp_path / "b.PNG")
    save(tmp_path / "deep" / "a.png")
    (tmp_path / "notes.txt").touch()
    items = found(tmp_path)
    assert [item.name for item in items] == ["b.PNG", "deep/a.png"]
    assert all(item.picture is not None and item.picture.labels_hw.tolist() == LABELS_hw.tolist() for item in items)


def test_labels_that_were_saved_as_another_kind_of_picture_are_set_aside(tmp_path: Path) -> None:
    for name in ("a.png", "b.tif", "c.JPG", "photos/a.jpg"):  # the last is the picture of a.png
        save(tmp_path / name)
    (png, *others) = found(tmp_path)
    assert png.name == "a.png" and png.refused is None
    assert [other.name for other in others] == ["b.tif", "c.JPG"]
    assert "b.tif is no PNG" in str(others[0].refused)


def test_of_an_export_only_its_labels_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{}")
    save(tmp_path / "labels" / "a.png")
    save(tmp_path / "confidence" / "a.png")
    assert [item.name for item in found(tmp_path)] == ["a.png"]


EXPORT = '{"kind": "goodsam export", "run": "r", "split": "all", "size": "working", "format": "masks"}'


@pytest.mark.parametrize("labels", ["labels", "train/labels"])
def test_of_exports_below_a_folder_only_their_labels_are_pictures(tmp_path: Path, labels: str) -> None:
    out = tmp_path / "one"
    save(out / labels / "a.png")
    (out / "export.json").write_text(EXPORT)
    for name in ("reliability", "reliable", "confidence", "masks", "images"):
        save((out / labels).parent / name / "a.png")
    save(tmp_path / "mine" / "masks" / "a.png")
    assert [item.name for item in found(tmp_path)] == ["mine/masks/a.png", f"one/{labels}/a.png"]


def test_maps_of_an_export_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text(EXPORT)
    save(tmp_path / "reliable" / "a.png")
    save(tmp_path / "reliability" / "a.png")
    assert [item.name for item in found(tmp_path)] == ["reliable/a.png"]
    with pytest.raises(InputError, match="reliability has no PNG that holds labels"):
        found(tmp_path / "reliability")


def test_a_map_as_it_was_exported_has_no_picture_and_a_changed_one_has(tmp_path: Path) -> None:
    noted = {"pixels": pixels_digest(LABELS_hw), "source": "ab"}
    write_labels(tmp_path / "same.png", LABELS_hw, DENSEPASS_13, noted)
    write_labels(tmp_path / "touched.png", LABELS_hw[::-1].copy(), DENSEPASS_13, noted)
    same, touched = found(tmp_path)
    assert same == Incoming("same.png")
    assert touched.picture is not None and touched.picture.sha256 == "ab"


def test_a_map_that_cannot_be_used_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", np.full((2, 4), 99, np.uint8))
    (tmp_path / "c.png").write_bytes(b"no picture")
    good, bad, broken = found(tmp_path)
    assert good.picture is not None and good.refused is None
    assert bad.picture is None and "99" in str(bad.refused)
    assert broken.picture is None and "c.png" in str(broken.refused)


def test_an_export_of_cvat_is_found_as_file_in_a_folder_and_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(CVAT)
    save(tmp_path / "images" / "a.png")
    assert_is_cvat(found(tmp_path / "annotations.xml"))
    assert_is_cvat(found(tmp_path))
    assert_is_cvat(found(zipped(tmp_path / "task.ZIP", {"annotations.xml": CVAT, "task.json": "[]"})))


def test_what_a_mac_adds_to_an_archive_is_no_export(tmp_path: Path) -> None:
    assert found(zipped(tmp_path / "a.zip", {"tasks.json": "[]", "__MACOSX/._tasks.json": "x"})) == []


def test_the_one_json_file_of_a_folder_is_an_export_of_label_studio(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{}")
    (tmp_path / "project-7.json").write_text("[]")
    assert found(tmp_path) == []
    (tmp_path / "project-8.json").write_text("[]")
    with pytest.raises(InputError, match=r"has no PNG that holds labels, annotations\.xml or single JSON file"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{", r"a\.json is damaged .*JSON export of Label Studio"),
        ("a.xml", "<annotations>", r"a\.xml is damaged"),
        ("a.xml", "<other/>", "has no <annotations>"),
        ("a.zip", "no archive", r"a\.zip cannot be unpacked .*Export the annotations again"),
        ("a.txt", "", r"a\.txt cannot be imported; it must be a folder of PNGs"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        found(tmp_path / name)


def test_an_archive_with_a_damaged_byte_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", CVAT)
    content = (tmp_path / "whole.zip").read_bytes()
    begin, end = content.index(b"annotations.xml") + len("annotations.xml"), content.index(b"PK\1\2")
    for place in range(begin, end - 2):  # the last bits may mean nothing
        (tmp_path / "a.zip").write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"a\.zip cannot be unpacked"):
            found(tmp_path / "a.zip")


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a.zip", {"annotations.xml": CVAT}).read_bytes())
    content[6] |= 1  # the bit that says so, in front of the file and in the table of contents
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip cannot be unpacked .*password"):
        found(tmp_path / "a.zip")


def test_an_archive_of_pngs_is_refused_with_what_to_do(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.png": "x", "b.png": "x"})
    with pytest.raises(InputError, match=r"a\.zip holds 2 files and no known export.*unpack it and name their folder"):
        found(archive)


def test_an_archive_of_several_exports_is_refused_with_what_to_do(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"one/annotations.xml": CVAT, "two/annotations.xml": CVAT})
    with pytest.raises(InputError, match=r"a\.zip holds 2 exports.*Import them one by one"):
        found(archive)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.zip"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        found(tmp_path / name)


def test_names_of_json_exports_are_those_of_label_studio(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([{"data": {"image": "a.jpg"}, "annotations": []}]))
    assert found(tmp_path / "tasks.json") == []
