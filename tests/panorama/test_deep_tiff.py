"""TIFF that Pillow cannot open or decodes wrongly: what is read, and by what sentence the rest is set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import OpenedPanorama, PictureHeader, open_panorama, picture_header
from pipeline.panorama.placement import Placement
from tests.panorama.damage import damaged_copies

FULL = PanoramaConfig(width=64)
INTEGERS = ("uint8", "uint16", "uint32")
FLOATS = ("float16", "float32", "float64")
EXTRA_SAMPLES = ("assocalpha", "unassalpha", "unspecified")
"""Kinds of a sample behind the colours, in tifffile's words."""


def picture(samples: int) -> npt.NDArray[np.float64]:
    """Values 0..1, shape [32, 64] or [32, 64, samples]; every sample runs another way. The last of 2 or 4 is alpha."""
    v, u = np.mgrid[:32, :64] / np.array([31, 63])[:, None, None]
    channels = [u, v, 1 - u][: samples - (samples + 1) % 2]
    if samples % 2 == 0:
        channels.append(np.where(v < 0.5, 1.0, 0.2))
    return np.stack(channels, axis=-1) if samples > 1 else channels[0]


def stored(values: npt.NDArray[np.float64], kind: str) -> npt.NDArray[Any]:
    return values.astype(kind) if kind in FLOATS else np.rint(values * np.iinfo(kind).max).astype(kind)


def write(path: Path, values: npt.NDArray[Any], *, separate: bool = False, **options: Any) -> Path:
    samples = values.shape[-1] if values.ndim == 3 else 1
    if samples > 1:
        options["planarconfig"] = "separate" if separate else "contig"
        values = np.ascontiguousarray(np.moveaxis(values, -1, 0)) if separate else values
    tifffile.imwrite(path, values, photometric="rgb" if samples > 2 else "minisblack", **options)
    return path


def opened(path: Path) -> OpenedPanorama:
    return open_panorama(path, FULL)


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_panorama(path, FULL)
    return str(caught.value)


@pytest.mark.parametrize("separate", [False, True], ids=["interleaved", "separate planes"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("kind", [*INTEGERS, *FLOATS])
def test_grey_and_rgb_of_every_depth_are_read(tmp_path: Path, kind: str, samples: int, separate: bool) -> None:
    for compression in (None, "zlib"):
        path = write(tmp_path / "a.tif", stored(picture(samples), kind), separate=separate, compression=compression)
        expected = picture(samples) if samples == 3 else np.repeat(picture(1)[..., None], 3, axis=-1)
        np.testing.assert_allclose(opened(path).image_HW3, 255 * expected, atol=1.01)


@pytest.mark.parametrize("extra", EXTRA_SAMPLES)
@pytest.mark.parametrize("separate", [False, True], ids=["interleaved", "separate planes"])
@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("kind", [*INTEGERS, "float32"])
def test_alpha_is_alpha_and_an_unknown_sample_nothing(
    tmp_path: Path, kind: str, samples: int, separate: bool, extra: str
) -> None:
    values = picture(samples)
    if extra == "assocalpha":
        values[..., :-1] *= values[..., -1:]
    path = write(tmp_path / "a.tif", stored(values, kind), separate=separate, extrasamples=[extra])
    panorama = opened(path)
    colours = np.broadcast_to(picture(samples)[..., :-1], (32, 64, 3))
    alpha = 1 if extra == "unspecified" else picture(samples)[..., -1:]
    np.testing.assert_allclose(panorama.image_HW3, 255 * colours * alpha, atol=2.5)
    np.testing.assert_array_equal(panorama.transparent_HW, np.broadcast_to(alpha, (32, 64, 1))[..., 0] < 0.5)


def test_integers_of_32_bits_that_need_only_16_are_taken_for_16(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", stored(picture(3), "uint16").astype(np.uint32))
    np.testing.assert_allclose(opened(path).image_HW3, 255 * picture(3), atol=1)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    ("value", "found"),
    [(np.nan, "floating-point pixels, of which 1 are NaN"), (12.5, "floating-point pixels from 0 to 12.5"),
     (-0.5, "floating-point pixels from -0.5 to 1"), (np.inf, "floating-point pixels from 0 to inf")],
)  # fmt: skip
def test_floats_that_are_no_colours_are_set_aside_by_what_they_are(
    tmp_path: Path, samples: int, value: float, found: str
) -> None:
    values = picture(samples).astype(np.float32)
    values.flat[700] = value
    assert message(write(tmp_path / "a.tif", values)).startswith(f"a.tif has {found}")


@pytest.mark.parametrize(
    ("kind", "samples", "found"),
    [("int16", 1, "1 channels of the type int16"), ("int16", 3, "3 channels of the type int16"),
     ("int32", 3, "3 channels of the type int32"), ("uint16", 5, "5 channels of the type uint16"),
     ("complex64", 1, "1 channels of the type complex64")],
)  # fmt: skip
def test_other_kinds_are_set_aside_by_name(tmp_path: Path, kind: str, samples: int, found: str) -> None:
    values = np.ones((32, 64, samples) if samples > 1 else (32, 64), kind)
    assert message(write(tmp_path / "a.tif", values)).startswith(f"a.tif is a TIFF with {found}")


def test_a_compression_of_another_package_is_named_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_package(page: tifffile.TiffPage) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    path = write(tmp_path / "a.tif", stored(picture(3), "float32"))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", without_package)
    assert message(path) == (
        "a.tif is a TIFF whose compression cannot be read (<COMPRESSION.LZW: 5> requires the 'imagecodecs' package); "
        "uncompressed, Deflate and PackBits files are read without further packages. "
        "Run `pip install imagecodecs`, or export it uncompressed."
    )


@pytest.mark.parametrize("orientation", [3, 6])
def test_its_orientation_is_undone_and_its_upright_size_is_reported(tmp_path: Path, orientation: int) -> None:
    values = np.rot90(picture(3), 2 if orientation == 3 else 1)
    tag = (274, "H", 1, orientation, True)
    path = write(tmp_path / "a.tif", stored(values, "float32"), extratags=[tag])
    panorama, header = opened(path), picture_header(path)
    assert header == PictureHeader(64, 32, "TIFF")
    np.testing.assert_allclose(panorama.image_HW3, 255 * picture(3), atol=1)
    assert (panorama.source_width, panorama.source_height) == (64, 32)


def test_its_shape_its_size_and_its_tags_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = stored(picture(3), "float32")
    assert "a.tif is 64x16" in message(write(tmp_path / "a.tif", values[:16]))
    xmp = b'<rdf:Description GPano:ProjectionType="cylindrical"/>'
    path = write(tmp_path / "a.tif", values, extratags=[(700, "B", len(xmp), xmp, True)])
    assert "projection 'cylindrical'" in message(path)
    monkeypatch.setattr("pipeline.panorama.images.MAXIMUM_PIXELS", 1000)
    assert "a.tif is 64x32" in message(path)


def with_tags(path: Path, values: npt.NDArray[Any], *, separate: bool = False, **tags: object) -> Path:
    xmp = "".join(f"<GPano:{key}>{value}</GPano:{key}>" for key, value in tags.items()).encode()
    return write(path, values, separate=separate, extratags=[(700, "B", len(xmp), xmp, True)])


@pytest.mark.parametrize(("kind", "separate"), [("uint16", True), ("float32", False), ("uint32", False)])
def test_its_tags_put_a_part_in_its_place_and_say_the_tilt(tmp_path: Path, kind: str, separate: bool) -> None:
    part = stored(picture(3)[8:24, 16:56], kind)  # 40x16: no shape of a whole panorama
    box = {"CroppedAreaTopPixels": 8, "CroppedAreaLeftPixels": 16, "CroppedAreaImageHeightPixels": 16,
           "CroppedAreaImageWidthPixels": 40, "FullPanoHeightPixels": 32, "FullPanoWidthPixels": 64}  # fmt: skip
    config = PanoramaConfig(width=128)
    opened = open_panorama(with_tags(tmp_path / "a.tif", part, separate=separate, **box, PosePitchDegrees=9), config)
    assert opened.placement == Placement(32, 64, 8, 16, 16, 40, pitch=9.0)
    assert opened.transparent_HW.mean() == 1 - 16 * 40 / (32 * 64)
    np.testing.assert_allclose(opened.image_HW3[17:47:2, 33:111:2], 255 * picture(3)[8:23, 16:55], atol=9)


def test_its_shape_must_be_a_panoramas_where_its_tags_do_not_say_more(tmp_path: Path) -> None:
    assert "a.tif is 40x16" in message(
        with_tags(tmp_path / "a.tif", stored(picture(3)[8:24, 16:56], "float32"), Make="x")
    )


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["float32", "uint32"])
def test_damage_anywhere_is_an_input_error_by_name(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.tif", stored(picture(3), kind), compression="zlib")
    whole = path.read_bytes()
    for length in (3, 9, 60, 200, len(whole) // 2):
        path.write_bytes(whole[:length])
        assert "a.tif" in message(path)
    for damaged in damaged_copies(whole, 60, seed=0):
        path.write_bytes(damaged)
        try:
            opened(path)
        except InputError as error:
            assert "a.tif" in str(error)


def test_a_png_of_grey_16_bits_with_alpha_or_a_transparent_value_is_read(tmp_path: Path) -> None:
    grey_HW, alpha_HW = stored(picture(2)[..., 0], "uint16"), picture(2)[..., 1]
    opaque = Image.fromarray(grey_HW)
    opaque.save(tmp_path / "value.png", transparency=int(grey_HW[0, 5]))
    panorama = opened(tmp_path / "value.png")
    np.testing.assert_array_equal(panorama.transparent_HW, grey_HW == grey_HW[0, 5])
    np.testing.assert_allclose(panorama.image_HW3[:, 6:, 0], 255 * picture(1)[:, 6:], atol=1)
    bgra = np.dstack([*[grey_HW] * 3, stored(alpha_HW, "uint16")])
    cv2.imwrite(str(tmp_path / "alpha.png"), bgra)
    panorama = opened(tmp_path / "alpha.png")
    np.testing.assert_array_equal(panorama.transparent_HW, alpha_HW < 0.5)
    np.testing.assert_allclose(panorama.image_HW3[..., 0], 255 * picture(1) * alpha_HW, atol=2)


def test_a_palette_with_a_transparent_colour_is_ignored_there(tmp_path: Path) -> None:
    palette = Image.fromarray(np.where(np.mgrid[:32, :64][0] < 16, 1, 2).astype(np.uint8))
    palette.putpalette([9, 9, 9, 50, 100, 150, 200, 150, 100])
    palette.save(tmp_path / "a.png", transparency=2)
    panorama = opened(tmp_path / "a.png")
    assert panorama.transparent_HW[16:].all() and not panorama.transparent_HW[:16].any()
    assert (panorama.image_HW3[16:] == 0).all() and (panorama.image_HW3[:16] == (50, 100, 150)).all()
