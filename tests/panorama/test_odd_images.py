"""Odd image files: what is taken all the same, and what is set aside with a reason."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama

FULL = PanoramaConfig(width=64)


def picture(width: int = 128, height: int = 64) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def planar_tiff(path: Path, bits: int) -> None:
    """An uncompressed RGB TIFF of 128x64 whose channels lie one after the other."""
    size = 128 * 64 * bits // 8
    count, data = 9, 8 + 2 + 9 * 12 + 4
    arrays = data + 3 * size  # bits, offsets and lengths of the planes
    fields = [(256, 4, 1, 128), (257, 4, 1, 64), (258, 3, 3, arrays), (259, 3, 1, 1), (262, 3, 1, 2),
              (273, 4, 3, arrays + 6), (277, 3, 1, 3), (279, 4, 3, arrays + 18), (284, 3, 1, 2)]  # fmt: skip
    directory = struct.pack("<H", count) + b"".join(struct.pack("<HHII", *f) for f in fields) + bytes(4)
    planes = bytes([7]) * size + bytes([90]) * size + bytes([200]) * size
    ends = struct.pack("<3H3I3I", *[bits] * 3, data, data + size, data + 2 * size, *[size] * 3)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + planes + ends)


def test_a_tiff_of_16_bits_in_separate_planes_is_read(tmp_path: Path) -> None:
    planar_tiff(tmp_path / "a.tif", 16)  # bytes of a sample are alike: 7 * 257 and so on
    opened = open_panorama(tmp_path / "a.tif", FULL)
    assert (opened.image_HW3 == (7, 90, 200)).all()
    assert (opened.source_width, opened.source_height) == (128, 64)


def test_a_float_tiff_within_0_and_1_is_read_and_another_named(tmp_path: Path) -> None:
    values = np.asarray(picture().convert("L"), np.float32)
    Image.fromarray(values / 255).save(tmp_path / "a.tif")
    picture().convert("L").save(tmp_path / "plain.png")
    plain = open_panorama(tmp_path / "plain.png", FULL)
    np.testing.assert_array_equal(open_panorama(tmp_path / "a.tif", FULL).image_HW3, plain.image_HW3)
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif has floating-point pixels from 5 to 252"):
        open_panorama(tmp_path / "a.tif", FULL)


@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_cut_tiff_of_16_bits_in_separate_planes_is_set_aside_by_name(tmp_path: Path) -> None:
    planar_tiff(tmp_path / "a.tif", 16)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.tif"):
        open_panorama(tmp_path / "a.tif", FULL)


def test_a_tiff_of_8_bits_in_separate_planes_is_read(tmp_path: Path) -> None:
    planar_tiff(tmp_path / "a.tif", 8)
    assert (open_panorama(tmp_path / "a.tif", FULL).image_HW3 == (7, 90, 200)).all()


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_a_png_with_megabytes_beside_its_pixels_is_taken(tmp_path: Path, kind: str) -> None:
    info, big = PngInfo(), "x" * 3_000_000
    if kind == "zTXt":
        info.add_text("history", big, zip=True)
    if kind == "iTXt":
        info.add_itxt("history", big, zip=True)
    icc = big.encode() if kind == "iCCP" else None
    picture().save(tmp_path / "a.png", pnginfo=info, icc_profile=icc)
    picture().save(tmp_path / "plain.png")
    plain = open_panorama(tmp_path / "plain.png", FULL)
    np.testing.assert_array_equal(open_panorama(tmp_path / "a.png", FULL).image_HW3, plain.image_HW3)


def test_a_picture_of_a_few_pixels_is_too_small(tmp_path: Path) -> None:
    picture(2, 1).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="only 2x1"):
        open_panorama(tmp_path / "a.png", FULL)
    picture(32, 16).save(tmp_path / "a.png")
    open_panorama(tmp_path / "a.png", FULL)


def tagged(path: Path, **tags: object) -> Path:
    attributes = " ".join(f'GPano:{key}="{value}"' for key, value in tags.items())
    picture().save(path, xmp=f"<rdf:Description {attributes}/>".encode())
    return path


def crop(width: int, height: int, full: int) -> dict[str, object]:
    return {"CroppedAreaImageWidthPixels": width, "CroppedAreaImageHeightPixels": height, "FullPanoWidthPixels": full}


def test_a_part_whose_tags_do_not_say_where_it_lies_is_set_aside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shows 180x90 degrees .* do not say where they lie"):
        open_panorama(tagged(tmp_path / "a.jpg", **crop(128, 64, 256)), FULL)


def test_another_projection_by_its_tags_is_set_aside(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="projection 'cylindrical'"):
        open_panorama(tagged(tmp_path / "a.jpg", ProjectionType="cylindrical"), FULL)


@pytest.mark.parametrize("tags", [crop(128, 64, 128), crop(128, 40, 256), crop(0, 0, 0)],
                         ids=["whole", "of another picture", "empty"])  # fmt: skip
def test_tags_that_say_nothing_against_it_are_no_hindrance(tmp_path: Path, tags: dict[str, object]) -> None:
    open_panorama(tagged(tmp_path / "a.jpg", ProjectionType="equirectangular", **tags), FULL)
