"""Finding panoramas in a folder: what is taken, skipped, set aside and reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.finding import find_panoramas, survey_folder


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_flat_and_nested_images_are_found_in_the_order_of_their_ids(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "street/0002.webp", "street/0001.tif", "street/deep/x.y.tiff", "c.jpeg")
    found = find_panoramas(tmp_path)
    assert [p.id for p in found] == ["a", "b", "c", "street/0001", "street/0002", "street/deep/x.y"]
    assert found[3].path == tmp_path / "street" / "0001.tif"


def test_hidden_files_other_files_and_labels_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".b.jpg", ".hidden/c.jpg", "notes.txt", "a_labelTrainIds.png", "gtFine/val/x/d.png")
    touch(tmp_path, "leftImg8bit/val/x/100_.png")
    assert [p.id for p in find_panoramas(tmp_path)] == ["a", "leftImg8bit/val/x/100_"]


def test_two_files_of_one_id_are_set_aside_and_the_others_found(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.jpg", "s/a.png", "s/b.png")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["s/b"]
    assert list(found.set_aside) == ["s/a.jpg", "s/a.png"]
    assert "a.png has the same id 's/a'" in found.set_aside["s/a.jpg"]
    touch(tmp_path, "s/a.webp")
    assert "a.png and a.webp have the same id" in survey_folder(tmp_path).set_aside["s/a.jpg"]
    (tmp_path / "s" / "b.png").unlink()
    with pytest.raises(InputError, match=r"no usable images.*s/a\.jpg"):
        survey_folder(tmp_path)


def test_folders_of_operating_systems_and_network_drives_are_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "@eaDir/a.jpg/THUMB_XL.jpg", "#recycle/b.jpg", "$RECYCLE.BIN/c.jpg", "x/__MACOSX/d.jpg")
    touch(tmp_path, "System Volume Information/e.jpg", "lost+found/f.jpg", "x/y.jpg")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a", "x/y"]
    assert (found.set_aside, found.left_out) == ({}, {})


def test_what_runs_have_written_into_the_folder_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "cache/teacher.zarr/zarr.json", "cache/my/corrections/panoramas/a.png", "x/y.jpg")
    touch(tmp_path, "x/runs/evaluations/1/overlays/a.jpg", "x/runs/teacher.zarr/zarr.json", "cached/b.jpg")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a", "cached/b", "x/y"]
    assert (found.set_aside, found.left_out) == ({}, {})
    assert [p.id for p in find_panoramas(tmp_path / "cache" / "my")] == ["corrections/panoramas/a"], "if it is named"


def test_labels_and_mask_inside_the_folder_are_no_panoramas(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "truth/a.png", "rig.png")
    others = [tmp_path / "truth", tmp_path / "rig.png", tmp_path]
    assert [p.id for p in find_panoramas(tmp_path, others)] == ["a"]


def test_jpegs_of_other_endings_are_taken_and_other_kinds_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jfif", "b.jpe", "c.insp", "d.JPEG_original", "e.mpo", "1.MP4", "2.mp4", "x.cr3", "README")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a", "b", "c", "d", "e"]
    assert found.notes == ["left out: 2 .mp4, 1 without ending, 1 .cr3"]


def test_files_that_look_like_masks_or_depths_are_reported_and_taken(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_DEPTH.jpg", "a_mask.png", "b_other.jpg"):
        Image.new("RGB", (4, 2)).save(tmp_path / name)
    (tmp_path / "s").mkdir()
    Image.new("RGB", (4, 2)).save(tmp_path / "s" / "c.jpg")
    Image.new("P", (4, 2)).save(tmp_path / "s" / "c_classes.png")  # a palette, named after an image
    Image.new("RGB", (4, 2)).save(tmp_path / "s" / "c_2.png")
    Image.new("L", (4, 2)).save(tmp_path / "s" / "grey_street.png")  # of no other image
    found = survey_folder(tmp_path)
    assert len(found.panoramas) == 8
    assert found.doubtful == ["a_DEPTH", "a_mask", "s/c_classes"]
    assert found.notes == ["3 of the 8 files taken for panoramas look like masks, depths or labels: a_DEPTH, a_mask, "
                           "s/c_classes; move them to another folder if they are"]  # fmt: skip


def test_empty_folders_called_like_images_and_links_to_nothing_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "x.jpg/b.png")
    (tmp_path / "y.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a", "x.jpg/b"]
    assert found.set_aside == {
        "gone.jpg": "it is a broken link",
        "y.jpg": "it is an empty folder with the name of an image",
    }


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.jpg")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "run")
    assert [p.id for p in find_panoramas(tmp_path / "run")] == ["linked/a"]


def test_a_missing_folder_a_file_and_a_folder_without_images_are_explained(tmp_path: Path) -> None:
    touch(tmp_path, "movie.mp4", "notes.txt")
    with pytest.raises(InputError, match="does not exist"):
        find_panoramas(tmp_path / "nothing")
    with pytest.raises(InputError, match="is a file"):
        find_panoramas(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"no images \(2 other files\)"):
        find_panoramas(tmp_path)
