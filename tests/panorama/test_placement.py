"""Pictures of a part of the sphere, by their GPano tags: where they come to lie, and what lies beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.ignore import ignored_region
from pipeline.panorama.images import open_panorama
from pipeline.panorama.labels import open_labels
from pipeline.panorama.placement import Placement

SPHERE = PanoramaConfig(width=128)
BAND = PanoramaConfig(width=128, vertical_fov=90)


def sphere(height: int = 128) -> npt.NDArray[np.uint8]:
    """A full panorama [height, 2 * height, 3], smooth over the seam and nowhere black."""
    pitch, yaw = np.meshgrid(np.linspace(0, np.pi, height), np.arange(2 * height) * np.pi / height, indexing="ij")
    channels = (np.sin(yaw) * np.sin(pitch), np.cos(2 * yaw) * np.sin(pitch), np.cos(pitch))
    return np.rint(140 + 100 * np.stack(channels, axis=-1)).astype(np.uint8)


def xmp(**tags: object) -> bytes:
    elements = "".join(f"<GPano:{key}>{value}</GPano:{key}>" for key, value in tags.items())
    return f"<rdf:Description>{elements}</rdf:Description>".encode()


def tags(top: int, left: int, height: int, width: int, full_height: int = 128) -> dict[str, Any]:
    return {
        "ProjectionType": "equirectangular",
        "CroppedAreaTopPixels": top,
        "CroppedAreaLeftPixels": left,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "FullPanoHeightPixels": full_height,
        "FullPanoWidthPixels": 2 * full_height,
    }


def save(image_HW3: npt.NDArray[np.uint8], path: Path, tags: dict[str, Any]) -> None:
    packet = xmp(**tags)
    if path.suffix == ".png":  # Pillow writes no XMP into PNG by itself
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        Image.fromarray(image_HW3).save(path, pnginfo=info)
    elif path.suffix == ".tif":
        Image.fromarray(image_HW3).save(path, tiffinfo={700: packet})
    else:
        Image.fromarray(image_HW3).save(path, xmp=packet, quality=95)


def write_part(path: Path, top: int, left: int, height: int, width: int, **other_tags: object) -> Path:
    part = sphere()[top : top + height, left : left + width]
    save(part, path, tags(top, left, height, width) | other_tags)
    return path


@pytest.mark.parametrize(
    "box", [(32, 0, 64, 256), (16, 0, 40, 256), (32, 64, 64, 128), (0, 128, 128, 128)],
    ids=["band", "band off the horizon", "a quarter", "the right half"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_a_part_comes_to_its_place_on_the_sphere(tmp_path: Path, box: tuple[int, int, int, int], suffix: str) -> None:
    Image.fromarray(sphere()).save(tmp_path / "whole.png")
    whole = open_panorama(tmp_path / "whole.png", SPHERE)
    opened = open_panorama(write_part(tmp_path / f"part{suffix}", *box), SPHERE)
    rows, columns = opened.placement.box(64, 128)
    assert (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start) == tuple(
        value // 2 for value in box
    )
    inside = np.zeros((64, 128), np.bool_)
    inside[rows, columns] = True
    np.testing.assert_array_equal(opened.transparent_HW, ~inside)
    assert not opened.image_HW3[~inside].any()
    difference = np.abs(opened.image_HW3[inside].astype(int) - whole.image_HW3[inside])
    assert difference.mean() < 3 and (difference > 24).mean() < 0.02
    assert (opened.source_height, opened.source_width) == box[2:]


def test_a_part_that_was_made_smaller_since_is_placed_at_its_own_scale(tmp_path: Path) -> None:
    save(sphere()[32:96:2, 64:192:2], tmp_path / "a.jpg", tags(32, 64, 64, 128))
    assert open_panorama(tmp_path / "a.jpg", SPHERE).placement == Placement(64, 128, 16, 32, 32, 64)


def test_tags_behind_the_pixels_of_a_png_are_found(tmp_path: Path) -> None:
    write_part(tmp_path / "early.png", 32, 0, 40, 256)
    chunks = (tmp_path / "early.png").read_bytes()
    start = chunks.index(b"iTXt") - 4
    length = int.from_bytes(chunks[start : start + 4], "big") + 12
    end = chunks.index(b"IEND") - 4
    moved = chunks[:start] + chunks[start + length : end] + chunks[start : start + length] + chunks[end:]
    (tmp_path / "late.png").write_bytes(moved)
    assert open_panorama(tmp_path / "late.png", SPHERE).placement == Placement(128, 256, 32, 0, 40, 256)


def test_in_a_run_of_bands_a_part_lies_where_the_band_has_it(tmp_path: Path) -> None:
    opened = open_panorama(write_part(tmp_path / "a.png", 40, 0, 50, 256), BAND)
    assert opened.placement == Placement(64, 256, 8, 0, 50, 256, vertical_fov=90)
    assert opened.image_HW3.shape == (32, 128, 3)
    whole_band = open_panorama(write_part(tmp_path / "b.png", 32, 0, 64, 256), BAND)
    assert whole_band.placement.is_whole and not whole_band.transparent_HW.any()
    with pytest.raises(
        InputError, match=r"shows \+84 to \+14 degrees above the horizon.*show \+45 to -45 degrees"
    ) as caught:
        open_panorama(write_part(tmp_path / "c.png", 4, 0, 50, 256), BAND)
    assert "vertical_fov = 180" in caught.value.remedy


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"FullPanoHeightPixels": 200}, "part of a panorama of 256x200 pixels"),
        ({"CroppedAreaLeftPixels": 160}, "columns 160 to 288 of 256"),
        ({"CroppedAreaTopPixels": -20}, "rows -20 to 44 of 128"),
        ({"CroppedAreaTopPixels": ""}, "do not say where"),
        ({"FullPanoHeightPixels": 30_000, "FullPanoWidthPixels": 60_000}, "part of a panorama of 60000x30000"),
        ({"FullPanoHeightPixels": 1280, "FullPanoWidthPixels": 2560}, "only 18x9 degrees"),
    ],
)
def test_tags_that_cannot_be_right_set_a_picture_aside_by_name(
    tmp_path: Path, wrong: dict[str, object], found: str
) -> None:
    with pytest.raises(InputError, match=rf"a\.jpg .*{found}"):
        open_panorama(write_part(tmp_path / "a.jpg", 32, 64, 64, 128, **wrong), SPHERE)


def test_a_night_sky_at_the_top_of_a_part_is_seen_and_a_black_nadir_at_its_bottom_is_not(tmp_path: Path) -> None:
    part = sphere()[32:112].copy()
    part[:20], part[60:] = 3, 0
    save(part, tmp_path / "a.png", tags(32, 0, 80, 256))
    opened = open_panorama(tmp_path / "a.png", SPHERE)
    ignored = ignored_region(opened.image_HW3, SPHERE, opened.transparent_HW)
    assert ignored[:16].all() and not ignored[16:45].any() and ignored[47:].all()


def test_labels_of_a_part_come_to_the_same_place_at_their_own_scale(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 13, (32, 64)).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    placement = Placement(128, 256, 32, 64, 64, 128)
    placed = open_labels(tmp_path / "a.png", DENSEPASS_13, SPHERE, placement=placement)
    assert placed.shape == (64, 128)
    np.testing.assert_array_equal(placed[16:48, 32:96], labels)
    assert (placed != IGNORE).sum() == labels.size
    with pytest.raises(InputError, match=r"label a\.png is 64x32.*the shape of its panorama, 128x80"):
        open_labels(tmp_path / "a.png", DENSEPASS_13, SPHERE, placement=Placement(128, 256, 32, 64, 80, 128))


@given(st.integers(2, 300), st.data())
def test_what_is_put_on_the_canvas_is_cut_out_again(canvas_height: int, data: st.DataObject) -> None:
    height = data.draw(st.integers(1, canvas_height))
    width = data.draw(st.integers(1, 2 * canvas_height))
    top = data.draw(st.integers(0, canvas_height - height))
    left = data.draw(st.integers(0, 2 * canvas_height - width))
    placement = Placement(canvas_height, 2 * canvas_height, top, left, height, width)
    values = np.arange(height * width, dtype=np.int32).reshape(height, width)
    np.testing.assert_array_equal(placement.cut(placement.put(values, -1)), values)
    other = placement.at_size(data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90)))
    assert 0 <= other.top <= other.canvas_height - other.height
    assert 0 <= other.left <= other.canvas_width - other.width
    rows, columns = placement.box(64, 128)
    assert 0 <= rows.start < rows.stop <= 64 and 0 <= columns.start < columns.stop <= 128
