"""HEIC and AVIF: read like other pictures; where pillow-heif is missing, what it would need is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from pipeline.errors import InputError
from pipeline.panorama import finding, formats, images
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import survey_folder
from pipeline.panorama.images import open_panorama, picture_header
from pipeline.panorama.placement import Placement
from tests.panorama.damage import damaged_copies

FULL = PanoramaConfig(width=64)
KINDS = ("a.heic", "a.avif")


def picture(width: int = 128, height: int = 64) -> npt.NDArray[np.uint8]:
    """Left red, right green, with a blue foot: no two of its mirrored or turned forms are alike."""
    image_HW3 = np.zeros((height, width, 3), np.uint8)
    image_HW3[:, : width // 2] = (200, 40, 40)
    image_HW3[:, width // 2 :] = (40, 160, 40)
    image_HW3[3 * height // 4 :] = (40, 40, 200)
    return image_HW3


def write(path: Path, image: npt.NDArray[np.uint8] | Image.Image, **options: Any) -> Path:
    """An image file of its suffix; HEIC needs pillow-heif."""
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (the extra `heic`)")
        formats.read_formats()
    opened = image if isinstance(image, Image.Image) else Image.fromarray(image)
    opened.save(path, "HEIF" if path.suffix == ".heic" else None, quality=95, **options)
    return path


def test_both_are_found_and_read(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.avif"):
        write(tmp_path / f"{name[0]}{'.avif' if name[0] == 'c' else '.heic'}", picture()).rename(tmp_path / name)
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a", "b", "c"] and found.notes == []
    for panorama in found.panoramas:
        opened = open_panorama(panorama.path, FULL)
        assert (opened.source_height, opened.source_width) == (64, 128)
        difference = np.abs(opened.image_HW3.astype(int) - picture(64, 32))
        assert difference.mean() < 6 and not opened.transparent_HW.any()


@pytest.mark.parametrize("name", KINDS)
def test_their_orientation_is_undone(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    path = write(tmp_path / name, np.ascontiguousarray(np.rot90(picture())), exif=exif.tobytes())
    opened = open_panorama(path, FULL)
    assert (opened.source_height, opened.source_width) == (64, 128)
    assert np.abs(opened.image_HW3.astype(int) - picture(64, 32)).mean() < 6
    header = picture_header(path)
    assert header is not None and (header.width, header.height) == (128, 64)


@pytest.mark.parametrize("name", KINDS)
def test_their_tags_place_them_and_their_transparency_is_ignored(tmp_path: Path, name: str) -> None:
    tags = {"CroppedAreaTopPixels": 16, "CroppedAreaLeftPixels": 0, "CroppedAreaImageHeightPixels": 32,
            "CroppedAreaImageWidthPixels": 128, "FullPanoHeightPixels": 64, "FullPanoWidthPixels": 128}  # fmt: skip
    xmp = "".join(f"<GPano:{key}>{value}</GPano:{key}>" for key, value in tags.items()).encode()
    alpha = Image.fromarray(np.where(np.arange(128) < 64, 255, 0).astype(np.uint8)[None].repeat(32, axis=0))
    part = Image.fromarray(picture(128, 32))
    part.putalpha(alpha)
    opened = open_panorama(write(tmp_path / name, part, xmp=xmp), FULL)
    assert opened.placement == Placement(64, 128, 16, 0, 32, 128)
    seen = np.zeros((32, 64), np.bool_)
    seen[8:24, :32] = True
    np.testing.assert_array_equal(opened.transparent_HW, ~seen)


@pytest.mark.parametrize("name", KINDS)
def test_their_colour_profile_is_converted(tmp_path: Path, name: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    opened = open_panorama(write(tmp_path / name, picture(), icc_profile=swapped), FULL)  # red means green
    assert np.abs(opened.image_HW3[:20, 4:28].astype(int) - (40, 200, 40)).max() < 25
    assert "are converted to sRGB" in opened.notes[0]


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_reported_by_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for length in rng.integers(1, len(whole), 20):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\."):
            open_panorama(path, FULL)
    for damaged in damaged_copies(whole, 60, seed=0):
        path.write_bytes(damaged)
        try:
            open_panorama(path, FULL)
        except InputError as error:
            refused += "a." in str(error)
    assert refused > 10


def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (formats, images):
        monkeypatch.setattr(module, "heic_is_readable", lambda: False)
    monkeypatch.setattr(images, "read_formats", lambda: ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"))


def test_without_the_extra_it_is_left_out_by_kind_with_the_extras_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extra(monkeypatch)
    for name in ("b.heic", "c.heic", "d.HEIF"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="holds no images") as caught:
        survey_folder(tmp_path)
    remedy = "Run `pip install pillow-heif` (GoodSAM's extra `heic`) to read .heic and .heif"
    assert caught.value.remedy == remedy
    (tmp_path / "a.jpg").write_bytes(b"x")
    found = survey_folder(tmp_path)
    assert [p.id for p in found.panoramas] == ["a"]
    assert found.notes == [f"left out: 2 .heic, 1 .heif. {remedy}"]


def test_without_the_extra_a_heic_of_another_ending_is_called_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_extra(monkeypatch)
    box = b"ftypheic" + bytes(4) + b"mif1heic"
    (tmp_path / "a.jpg").write_bytes((len(box) + 4).to_bytes(4, "big") + box + bytes(99))
    with pytest.raises(InputError, match=r"a\.jpg is a HEIC image.*pip install pillow-heif"):
        open_panorama(tmp_path / "a.jpg", FULL)


def test_no_suffix_is_promised_that_no_format_reads() -> None:
    assert set(finding.unread_suffixes()) == (set() if formats.heic_is_readable() else set(formats.HEIC_SUFFIXES))
    assert ("HEIF" in formats.read_formats()) == formats.heic_is_readable()
