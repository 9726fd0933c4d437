"""JPEG files without their end marker: those that lack nothing else are read, those that lack pixels are set aside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama

FULL = PanoramaConfig(width=128)
KINDS: dict[str, dict[str, bool | int]] = {
    "plain": {},
    "own tables": {"optimize": True},
    "no subsampling": {"subsampling": 0, "quality": 98},
    "restart markers": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive with restart markers": {"progressive": True, "restart_marker_blocks": 3},
}


def picture(content: str) -> Image.Image:
    """128x64: noise all over, noise and below it one colour, or one colour alone."""
    noise_HW3 = np.random.default_rng(0).integers(60, 256, (64, 128, 3), dtype=np.uint8)
    noise_HW3[{"noise": 64, "flat foot": 24, "flat": 0}[content] :] = 120
    return Image.fromarray(noise_HW3)


def jpeg(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **KINDS[kind])
    return file.getvalue()


def read(path: Path, data: bytes) -> np.ndarray | str:
    """The pixels, or why there are none."""
    path.write_bytes(data)
    try:
        return open_panorama(path, FULL).image_HW3
    except InputError as error:
        return str(error)


def cuts(size: int) -> list[int]:
    """Lengths to cut a file to: near its end every one, further on some."""
    return [*range(size - 80, size), *range(650, size - 80, max(29, size // 150))]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(tmp_path: Path, kind: str, mode: str) -> None:
    whole = jpeg(picture("noise").convert(mode), kind)
    pixels = read(tmp_path / "a.jpg", whole)
    assert not isinstance(pixels, str)
    padding = b"" if whole[-3] == 0 and whole[-4] != 0xFF else bytes(1000)  # its own zero would go too
    for end in (b"", b"\xff", padding):
        np.testing.assert_array_equal(read(tmp_path / "a.jpg", whole[:-2] + end), pixels)


@pytest.mark.parametrize("content", ["noise", "flat foot", "flat"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_is_read_has_all_its_pixels_wherever_it_is_cut(tmp_path: Path, kind: str, content: str) -> None:
    whole = jpeg(picture(content), kind)
    pixels = read(tmp_path / "a.jpg", whole)
    taken = 0
    for length in cuts(len(whole)):
        found = read(tmp_path / "a.jpg", whole[:length])
        if isinstance(found, str):
            assert "a.jpg" in found
        else:
            np.testing.assert_array_equal(found, pixels)
            taken += 1
    assert 2 <= taken <= 3  # without the two bytes of the marker, and where the last byte held nothing


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_between_two_scans_or_restart_markers_is_set_aside(tmp_path: Path, kind: str) -> None:
    whole = jpeg(picture("noise"), kind)
    last = len(whole) - 2
    for at in range(whole.index(b"\xff\xda") + 20, last):
        if whole[at] == 0xFF and whole[at + 1] not in (0, 0xFF):
            assert "broken or truncated" in read(tmp_path / "a.jpg", whole[:at])


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_in_place_of_pixels_are_no_picture(tmp_path: Path, kind: str) -> None:
    whole = jpeg(picture("flat foot"), kind)
    for share in (0.5, 0.7, 0.9, 0.99):
        kept = int(len(whole) * share)
        found = read(tmp_path / "a.jpg", whole[:kept] + bytes(len(whole) - kept + 4000))
        assert "a.jpg is broken or truncated" in found


def test_what_lies_behind_the_end_marker_is_no_part_of_the_picture(tmp_path: Path) -> None:
    whole = jpeg(picture("noise"), "plain")
    pixels = read(tmp_path / "a.jpg", whole)
    for trailer in (b"a camera's notes" * 20, bytes(5000), jpeg(picture("flat"), "plain")[:-300]):
        np.testing.assert_array_equal(read(tmp_path / "a.jpg", whole + trailer), pixels)


def test_the_message_names_the_file_and_what_is_wrong(tmp_path: Path) -> None:
    whole = jpeg(picture("noise"), "plain")
    assert read(tmp_path / "a.jpg", whole[: len(whole) // 2]) == (
        "a.jpg is broken or truncated (its data ends before the image does); the whole image must decode. "
        "Copy or export it again."
    )


def test_a_sideways_and_reduced_picture_without_its_end_marker_is_the_same_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    large = picture("noise").resize((1024, 512))
    for image, options in ((large, {}), (large.transpose(Image.Transpose.ROTATE_90), {"exif": exif})):
        file = io.BytesIO()
        image.save(file, "JPEG", **options)
        whole = file.getvalue()
        pixels = read(tmp_path / "a.jpg", whole)
        assert not isinstance(pixels, str)
        np.testing.assert_array_equal(read(tmp_path / "a.jpg", whole[:-2]), pixels)
