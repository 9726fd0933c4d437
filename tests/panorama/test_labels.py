"""Finding and opening labels: names of the released data sets, ids, merges, refusals."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.class_tables import colour_table
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile, find_panoramas
from pipeline.panorama.labels import doubt_of_first_id, open_labels, survey_labels

FULL = PanoramaConfig(width=64)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def find_labels(folder: Path, panoramas: list[PanoramaFile]) -> dict[str, Path]:
    return survey_labels(folder, panoramas).by_id


def some_labels(classes: int = 13) -> np.ndarray:
    labels = np.arange(16 * 32).reshape(16, 32) % classes
    labels[0] = 255
    return labels.astype(np.uint8)


@pytest.mark.parametrize("image", ["100_.png", "100.png", "100.jpg", "100_.jpg"])
@pytest.mark.parametrize(
    ("image_folder", "label_folder"),
    [("", ""), ("", "gtFine"), ("leftImg8bit", ""), ("leftImg8bit", "gtFine"), ("leftImg8bit/val", "gtFine/val")],
)
def test_densepass_labels_are_found_from_any_pair_of_folders(
    tmp_path: Path, image: str, image_folder: str, label_folder: str
) -> None:
    touch(tmp_path / "leftImg8bit" / "val" / "ABC" / image)
    label = touch(tmp_path / "gtFine" / "val" / "ABC" / "100_labelTrainIds.png")
    panoramas = find_panoramas(tmp_path / image_folder)
    assert find_labels(tmp_path / label_folder, panoramas) == {panoramas[0].id: label}


def test_cityscapes_names_are_found(tmp_path: Path) -> None:
    touch(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_1_leftImg8bit.png")
    label = touch(tmp_path / "gtFine" / "val" / "ulm" / "ulm_1_gtFine_labelTrainIds.png")
    panoramas = find_panoramas(tmp_path)
    assert find_labels(tmp_path, panoramas) == {panoramas[0].id: label}


def test_plain_labels_lie_under_the_same_id_and_train_ids_come_first(tmp_path: Path) -> None:
    for name in ("a.jpg", "street/b.jpg", "street/c.jpg"):
        touch(tmp_path / "images" / name)
    a = touch(tmp_path / "labels" / "a.png")
    touch(tmp_path / "labels" / "street" / "b.png")
    b = touch(tmp_path / "labels" / "street" / "b_labelTrainIds.png")
    found = find_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))
    assert found == {"a": a, "street/b": b}


def test_an_image_is_never_its_own_label(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no label of any of the 1 panorama.*a_labelTrainIds\.png"):
        find_labels(tmp_path, find_panoramas(tmp_path))


def test_a_missing_label_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        find_labels(tmp_path / "nothing", [])


def test_names_match_in_either_case_and_either_encoding_of_accents(tmp_path: Path) -> None:
    for name in ("cafe\u0301.jpg", "Plain.JPG", "s/x.jpg"):
        touch(tmp_path / "images" / name)
    cafe = touch(tmp_path / "labels" / "caf\u00e9.png")
    plain = touch(tmp_path / "labels" / "plain_labeltrainids.PNG")
    other = touch(tmp_path / "labels" / "S" / "x.png")
    found = survey_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))
    assert found.by_id == {"cafe\u0301": cafe, "Plain": plain, "s/x": other}
    assert (found.unmatched, found.note) == ([], "")


def test_names_in_other_case_are_found_through_links_of_folders_too(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "city" / "a.jpg")
    touch(tmp_path / "disk" / "a.PNG")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "city").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "labels")  # never ends
    found = survey_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))
    assert found.by_id == {"city/a": tmp_path / "labels" / "city" / "a.PNG"} and not found.unmatched


def test_an_exact_name_comes_before_one_that_differs_in_case(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.jpg")
    touch(tmp_path / "images" / "A.jpg")
    small = touch(tmp_path / "labels" / "a.png")
    assert find_labels(tmp_path / "labels", find_panoramas(tmp_path / "images")) == {"a": small}
    large = touch(tmp_path / "labels" / "A.png")
    assert find_labels(tmp_path / "labels", find_panoramas(tmp_path / "images")) == {"a": small, "A": large}


def test_names_that_could_be_of_either_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "ab.jpg")
    touch(tmp_path / "labels" / "Ab.png")
    second = touch(tmp_path / "labels" / "AB.png")
    with pytest.raises(InputError, match=r"'AB\.png' and 'Ab\.png' could both be the label of 'ab'"):
        find_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))
    second.unlink()
    touch(tmp_path / "images" / "aB.jpg")
    with pytest.raises(InputError, match=r"'Ab\.png' could be the label of 'aB' and of 'ab'"):
        find_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))


def test_labels_of_no_panorama_are_counted_and_the_first_named(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.jpg")
    for name in ("a.png", "e.png", "b.png", "s/c.png", "d.png", "notes.txt"):
        touch(tmp_path / "labels" / name)
    found = survey_labels(tmp_path / "labels", find_panoramas(tmp_path / "images"))
    assert found.note == "4 label files without a panorama: b.png, d.png, e.png, ..."


def test_pictures_of_labels_and_panoramas_are_no_labels_of_none(tmp_path: Path) -> None:
    touch(tmp_path / "leftImg8bit" / "x" / "1_.png")
    for name in ("1_labelTrainIds.png", "1_color.png", "2_labelTrainIds.png"):
        touch(tmp_path / "gtFine" / "x" / name)
    found = survey_labels(tmp_path, find_panoramas(tmp_path))
    assert found.unmatched == ["gtFine/x/2_labelTrainIds.png"]


# ---------------------------------------------------------------------------------------------------- opening


def test_grey_and_palette_labels_are_read_at_their_own_size(tmp_path: Path) -> None:
    grey, palette = Image.fromarray(some_labels()), Image.fromarray(some_labels())
    palette.putpalette(colour_table(DENSEPASS_13).tobytes())
    for name, image in (("grey.png", grey), ("palette.png", palette)):
        image.save(tmp_path / name)
        labels = open_labels(tmp_path / name, DENSEPASS_13, FULL)
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, some_labels())


def save_indexed(path: Path, ids: np.ndarray, palette: np.ndarray) -> None:
    image = Image.fromarray(ids.astype(np.uint8))
    image.putpalette(palette.astype(np.uint8).tobytes())
    image.save(path)


def test_a_palette_whose_colours_are_those_of_other_classes_is_refused(tmp_path: Path) -> None:
    """Its indices would be read as other classes than people see."""
    colours = colour_table(DENSEPASS_13)[some_labels()]
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(tmp_path / "label.png")
    with pytest.raises(InputError, match=r"in the colour of .*Save it as grey class ids"):
        open_labels(tmp_path / "label.png", DENSEPASS_13, FULL)


def test_foreign_palettes_say_nothing_and_those_of_ids_from_one_are_one_further(tmp_path: Path) -> None:
    path, one_further = tmp_path / "label.png", np.roll(colour_table(DENSEPASS_13), 1, axis=0)
    save_indexed(path, some_labels(), np.arange(768) % 256)
    np.testing.assert_array_equal(open_labels(path, DENSEPASS_13, FULL), some_labels())
    save_indexed(path, some_labels() + 1, one_further)  # 255 becomes 0
    np.testing.assert_array_equal(open_labels(path, DENSEPASS_13, FULL, from_one=True), some_labels())


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_few_bits_are_not_stretched(tmp_path: Path, bits: int) -> None:
    labels = some_labels(min(2**bits, 13)) % 13 % 2**bits
    image = Image.fromarray(labels)
    image.putpalette(colour_table(DENSEPASS_13).tobytes())
    image.save(tmp_path / "palette.png", bits=bits)
    np.testing.assert_array_equal(open_labels(tmp_path / "palette.png", DENSEPASS_13, FULL), labels)
    cv2.imwrite(str(tmp_path / "grey.png"), labels * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    np.testing.assert_array_equal(open_labels(tmp_path / "grey.png", DENSEPASS_13, FULL), labels != 0)


def test_grey_ids_of_four_bits_are_not_stretched(tmp_path: Path) -> None:
    labels = (np.arange(16 * 32).reshape(16, 32) % 13).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(four_bit_grey(labels))
    assert Image.open(tmp_path / "a.png").mode == "L"
    np.testing.assert_array_equal(open_labels(tmp_path / "a.png", DENSEPASS_13, FULL), labels)


def four_bit_grey(labels: np.ndarray) -> bytes:
    """A PNG of four-bit grey: Pillow and OpenCV write none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = (labels[:, ::2] << 4 | labels[:, 1::2]).astype(np.uint8)
    rows = np.pad(packed, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], 4, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_nineteen_classes_merge_into_thirteen(tmp_path: Path) -> None:
    labels = np.tile(np.r_[np.arange(19), 255], (10, 1)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    merged = open_labels(tmp_path / "a.png", DENSEPASS_13, FULL, source=CITYSCAPES_19)
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 12, 12, 255, 12, 12, 255]
    np.testing.assert_array_equal(merged, np.tile(expected, (10, 1)))


@pytest.mark.parametrize(
    ("highest", "label_set", "remedy"),
    [
        (18, DENSEPASS_13, 'Set data.labels_set = "cityscapes19"'),
        (33, CITYSCAPES_19, 'Set data.labels_set = "cityscapes34"'),
        (40, CITYSCAPES_19, "labelTrainIds"),
    ],
)
def test_a_class_outside_the_set_is_refused_with_its_id(
    tmp_path: Path, highest: int, label_set: LabelSet, remedy: str
) -> None:
    labels = some_labels()
    labels[5, 5] = highest
    Image.fromarray(labels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"holds the class ids {highest};.*{remedy}"):
        open_labels(tmp_path / "a.png", label_set, FULL)


def test_ids_can_count_from_one(tmp_path: Path) -> None:
    ids = np.tile(np.r_[np.arange(14), 255], (8, 1)).astype(np.uint8)
    Image.fromarray(ids).resize((32, 16), Image.Resampling.NEAREST).save(tmp_path / "a.png")
    ids = np.array(Image.open(tmp_path / "a.png"))
    found: set[int] = set()
    labels = open_labels(tmp_path / "a.png", DENSEPASS_13, FULL, from_one=True, found_ids=found)
    assert labels.dtype == np.uint8
    assert found == {*range(14), 255}
    for value in found:
        assert set(labels[ids == value].tolist()) == {255 if value in (0, 255) else value - 1}


def test_ids_that_seem_to_count_from_one_are_reported(tmp_path: Path) -> None:
    Image.fromarray(some_labels() + (some_labels() != 255)).save(tmp_path / "a.png")
    expected = (
        r"ids 13; .*ids 0 to 12.*ids seem to start at 1 \(0 never stands.*set data\.labels_from_one = true\. If they"
    )
    with pytest.raises(InputError, match=expected):
        open_labels(tmp_path / "a.png", DENSEPASS_13, FULL)
    Image.fromarray(np.full((16, 32), 14, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="has the ids 1 to 13, and 0 and 255 to ignore"):
        open_labels(tmp_path / "a.png", DENSEPASS_13, FULL, from_one=True)


def test_ids_without_a_nought_are_doubted() -> None:
    doubt = doubt_of_first_id({1, 2, 12, 255}, DENSEPASS_13)
    assert "ids seem to start at 1" in doubt
    assert "hold 1 to 12, and never 0, road). If so, set data.labels_from_one = true" in doubt
    for ids in (set[int](), {255}, {0, 1, 2}, {3, 4}):
        assert doubt_of_first_id(ids, DENSEPASS_13) == ""


def test_colours_and_jpeg_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (32, 16)).save(tmp_path / "colour.png")
    Image.new("L", (32, 16)).save(tmp_path / "lossy.jpg")
    for name, found in (("colour.png", "PNG of mode RGB"), ("lossy.jpg", "JPEG of mode L")):
        with pytest.raises(InputError, match=found):
            open_labels(tmp_path / name, DENSEPASS_13, FULL)


def test_a_label_of_another_shape_than_the_panorama_is_refused(tmp_path: Path) -> None:
    Image.new("L", (2048, 400)).save(tmp_path / "band.png")
    with pytest.raises(InputError, match=r"label band\.png is 2048x400.*shape of its panorama.*Export the label"):
        open_labels(tmp_path / "band.png", DENSEPASS_13, FULL)
    assert open_labels(tmp_path / "band.png", DENSEPASS_13, PanoramaConfig(vertical_fov=70.3)).shape == (400, 2048)


def test_a_label_of_any_size_is_read_if_its_shape_is_right_to_within_two_percent(tmp_path: Path) -> None:
    for width, height in ((64, 32), (100, 50), (130, 66)):
        Image.new("L", (width, height)).save(tmp_path / "a.png")
        assert open_labels(tmp_path / "a.png", DENSEPASS_13, FULL).shape == (height, width)
    Image.new("L", (130, 67)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"label a\.png is 130x67.*its panorama, 2:1 to within 2 %\. Export"):
        open_labels(tmp_path / "a.png", DENSEPASS_13, FULL)


def test_sixteen_bit_files_hold_class_ids_too(tmp_path: Path) -> None:
    labels = some_labels().astype(np.uint16)
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_labels(tmp_path / "a.png", DENSEPASS_13, FULL), labels)
    labels[3, 3] = 13 * 256  # no class, though its lower byte is one
    Image.fromarray(labels).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="holds the class ids 3328"):
        open_labels(tmp_path / "a.png", DENSEPASS_13, FULL)


def test_colours_are_numbers_of_a_list(tmp_path: Path) -> None:
    index_N = np.full(66_000, 255, np.uint8)
    index_N[[7, 300, 65_537]] = 0, 1, 2
    colours = np.array([(0, 0, 7), (0, 1, 44), (1, 0, 1), (13, 13, 13), (0, 0, 8)], np.uint8)
    Image.fromarray(np.tile(colours, (10, 4, 1))).save(tmp_path / "a.png")
    found = open_labels(tmp_path / "a.png", DENSEPASS_13, FULL, index_N=index_N)
    np.testing.assert_array_equal(found, np.tile([0, 1, 2, 255, 255], (10, 4)))
    Image.fromarray(some_labels()).save(tmp_path / "ids.png")
    with pytest.raises(InputError, match=r"mode L; with data\.labels_index"):
        open_labels(tmp_path / "ids.png", DENSEPASS_13, FULL, index_N=index_N)
