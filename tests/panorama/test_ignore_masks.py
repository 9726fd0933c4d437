"""Which mask of a folder is whose: by name, by folder, by size; and what is refused by name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile, find_panoramas
from pipeline.panorama.ignore_masks import IgnoreMasks, choose_ignore_masks

SMALL, LARGE = (128, 64), (256, 128)


def picture(path: Path, size: tuple[int, int] = SMALL, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def panoramas(folder: Path, **sizes: tuple[int, int]) -> list[PanoramaFile]:
    """Panoramas of the given sizes in folder/photos; two underscores in a name stand for a folder."""
    for name, size in sizes.items():
        picture(folder / "photos" / f"{name.replace('__', '/')}.png", size, 99)
    return find_panoramas(folder / "photos")


def config(folder: Path) -> PanoramaConfig:
    return PanoramaConfig(width=64, ignore_mask=str(folder / "rigs"))


def chosen(masks: IgnoreMasks, found: list[PanoramaFile]) -> dict[str, str | None]:
    return {p.id: mask.name if (mask := masks.of(p.path)) else None for p in found}


def test_a_name_comes_before_a_folder_and_a_folder_before_the_size(tmp_path: Path) -> None:
    found = panoramas(tmp_path, a__1=SMALL, a__2=SMALL, b__3=LARGE, b__4=SMALL)
    for name, size in (("2", SMALL), ("a", SMALL), ("wide", LARGE)):
        picture(tmp_path / "rigs" / f"{name}.png", size, 255)
    masks = choose_ignore_masks(config(tmp_path), found)
    assert chosen(masks, found) == {"a/1": "a.png", "a/2": "2.png", "b/3": "wide.png", "b/4": None}
    assert masks.notes == [
        "rigs: ignore masks for 3 of 4 panoramas: 1 by their name, 1 by their folder, 1 by their size",
        "ignored (where a mask is not black): a.png 100.0 % of 1, 2.png 100.0 % of 1, wide.png 100.0 % of 1",
    ]


def test_the_nearest_folder_counts_and_the_outermost_is_one_too(tmp_path: Path) -> None:
    found = panoramas(tmp_path, city__car__1=SMALL, city__2=SMALL, x=SMALL)
    for name in ("car_mask", "city", "photos"):
        picture(tmp_path / "rigs" / f"{name}.png")
    masks = choose_ignore_masks(config(tmp_path), found)
    assert chosen(masks, found) == {"city/2": "city.png", "city/car/1": "car_mask.png", "x": "photos.png"}


def test_names_count_without_regard_to_case_and_to_how_accents_are_encoded(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / unicodedata.normalize("NFD", "café.png"), SMALL, 9)
    found = find_panoramas(tmp_path / "photos")
    picture(tmp_path / "rigs" / unicodedata.normalize("NFC", "CAFÉ.png"))
    assert chosen(choose_ignore_masks(config(tmp_path), found), found)[found[0].id] is not None


def test_a_mask_with_a_name_is_not_taken_for_one_of_its_size(tmp_path: Path) -> None:
    """Whether its panorama is used now or left out by a limit."""
    found = panoramas(tmp_path, one=SMALL, three=LARGE, two=SMALL)
    picture(tmp_path / "rigs" / "two.png")
    picture(tmp_path / "rigs" / "wide.png", LARGE)
    masks = choose_ignore_masks(config(tmp_path), found[:2], found[2:])
    assert chosen(masks, found) == {"one": None, "three": "wide.png", "two": None}
    assert masks.notes[0].startswith("rigs: ignore masks for 1 of 2 panoramas")


def test_masks_of_no_panorama_and_files_that_are_no_picture_are_named(tmp_path: Path) -> None:
    found = panoramas(tmp_path, one=SMALL)
    for name, size in (("one", SMALL), ("old", LARGE), ("square", (64, 64))):
        picture(tmp_path / "rigs" / f"{name}.png", size)
    (tmp_path / "rigs" / "read.me").write_text("x")
    notes = choose_ignore_masks(config(tmp_path), found).notes
    assert "2 ignore masks without a panorama: old.png, square.png" in notes
    assert f"{tmp_path / 'rigs'} also holds files that are not images: read.me" in notes


def test_two_masks_of_one_size_are_refused_by_name_where_a_panorama_needs_them(tmp_path: Path) -> None:
    found = panoramas(tmp_path, a__1=SMALL, a__2=LARGE)
    for name in ("x", "y"):
        picture(tmp_path / "rigs" / f"{name}.png", LARGE)
    with pytest.raises(InputError, match=r"masks x\.png and y\.png both have the size of 2\.png, 256x128"):
        choose_ignore_masks(config(tmp_path), found)
    picture(tmp_path / "rigs" / "a.png")
    assert set(chosen(choose_ignore_masks(config(tmp_path), found), found).values()) == {"a.png"}


def test_a_name_of_two_panoramas_in_different_folders_is_refused(tmp_path: Path) -> None:
    found = panoramas(tmp_path, a__1=SMALL, b__1=SMALL)
    picture(tmp_path / "rigs" / "1.png")
    with pytest.raises(InputError, match=r"1\.png could belong to 'a/1' and to 'b/1'.*for example to a/1\.png"):
        choose_ignore_masks(config(tmp_path), found)
    picture(tmp_path / "rigs" / "a" / "1.png")
    picture(tmp_path / "rigs" / "b" / "1.png")
    masks = choose_ignore_masks(config(tmp_path), found)
    assert [masks.of(p.path) for p in found] == [tmp_path / "rigs" / f"{p.id}.png" for p in found]


@pytest.mark.parametrize("names", [("a.png", "A.png"), ("a.png", "a.tif"), ("A.png", "a_mask.png")])
def test_two_masks_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    found = panoramas(tmp_path, a__1=SMALL)
    for name in names:
        picture(tmp_path / "rigs" / name)
    if names == ("a.png", "A.png"):  # one has exactly the name
        assert chosen(choose_ignore_masks(config(tmp_path), found), found) == {"a/1": "a.png"}
        return
    with pytest.raises(InputError, match=r"could both be the mask of|have the same name"):
        choose_ignore_masks(config(tmp_path), found)


def test_a_mask_of_another_shape_than_its_panorama_is_an_error_that_names_both(tmp_path: Path) -> None:
    found = panoramas(tmp_path, a__1=SMALL)
    picture(tmp_path / "rigs" / "a.png", (64, 64))
    with pytest.raises(InputError, match=r"ignore mask a\.png, which is that of 1\.png, is 64x64"):
        choose_ignore_masks(config(tmp_path), found)


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    found = panoramas(tmp_path, one=SMALL)
    rigs = tmp_path / "rigs"
    rigs.mkdir()
    with pytest.raises(InputError, match="rigs, which holds no images"):
        choose_ignore_masks(config(tmp_path), found)
    picture(rigs / "other.png", (512, 256))
    with pytest.raises(InputError, match=r"none of the 1 masks in .*rigs belongs to a panorama"):
        choose_ignore_masks(config(tmp_path), found)
    (rigs / "one.png").write_text("no picture")
    with pytest.raises(InputError, match=r"one\.png cannot be opened as an image"):
        choose_ignore_masks(config(tmp_path), found)
    (rigs / "one.png").unlink()
    picture(rigs / "one.jpg")
    with pytest.raises(InputError, match=r"one\.jpg is a JPEG"):
        choose_ignore_masks(config(tmp_path), found)
    for folder in (tmp_path, tmp_path / "photos"):
        with pytest.raises(InputError, match="which holds panoramas"):
            choose_ignore_masks(PanoramaConfig(width=64, ignore_mask=str(folder)), found)


def test_a_single_mask_is_everybodys(tmp_path: Path) -> None:
    found = panoramas(tmp_path, one=SMALL, two=LARGE)
    picture(tmp_path / "rig.png", SMALL, 1)
    masks = choose_ignore_masks(PanoramaConfig(width=64, ignore_mask=str(tmp_path / "rig.png")), found)
    assert chosen(masks, found) == {"one": "rig.png", "two": "rig.png"}
    assert masks.notes == ["rig.png ignores 100.0 % of every panorama (where it is not black)"]
    assert not choose_ignore_masks(PanoramaConfig(width=64), found).notes
