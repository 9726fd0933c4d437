"""Opening panoramas: what is accepted, how it is normalised, messages about the rest."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama, resize_wrapping
from tests.panorama.damage import damaged_copies

FULL = PanoramaConfig(width=64)
ORIENTATION = 274
ROOT = Path(__file__).resolve().parents[2]


def smooth(height: int = 32, width: int = 64) -> npt.NDArray[np.uint8]:
    """A panorama that is smooth over the seam, with another pattern per channel."""
    v, u = np.meshgrid(np.linspace(0, np.pi, height), np.arange(width) * 2 * np.pi / width, indexing="ij")
    channels = (np.sin(u) * np.sin(v), np.cos(2 * u) * np.sin(v), np.cos(v))
    return np.rint(127.5 + 120 * np.stack(channels, axis=-1)).astype(np.uint8)


def message(path: Path, config: PanoramaConfig = FULL) -> str:
    with pytest.raises(InputError) as caught:
        open_panorama(path, config)
    assert caught.value.found and caught.value.expected and caught.value.remedy
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- opening


def test_a_lossless_image_of_the_working_size_is_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(smooth()).save(path)
    opened = open_panorama(path, FULL)
    np.testing.assert_array_equal(opened.image_HW3, smooth())
    assert opened.image_HW3.flags.writeable and opened.image_HW3.dtype == np.uint8
    assert (opened.source_height, opened.source_width) == (32, 64)
    assert opened.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not opened.transparent_HW.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: lambda a: np.rot90(a, -1),
    }[orientation](smooth())  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    opened = open_panorama(tmp_path / "a.png", FULL)
    np.testing.assert_array_equal(opened.image_HW3, smooth())
    assert (opened.source_height, opened.source_width) == (32, 64)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [*((m, s) for m in ("L", "P", "LA", "1") for s in (".png", ".tif")), ("CMYK", ".tif"), ("CMYK", ".jpg"),
     ("YCbCr", ".tif")],
)  # fmt: skip
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    picture = Image.fromarray(smooth())
    source = picture.convert("L").convert("LA") if mode == "LA" else picture.convert(mode)
    source.save(tmp_path / f"a{suffix}")
    opened = open_panorama(tmp_path / f"a{suffix}", FULL)
    expected = np.asarray(source.convert("RGB"))
    np.testing.assert_allclose(opened.image_HW3.astype(int), expected, atol=16 if suffix == ".jpg" else 2)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str, channels: int) -> None:
    expected = smooth() if channels == 3 else np.repeat(smooth()[..., :1], 3, axis=-1)
    deep = expected.astype(np.uint16)[..., ::-1] * 256 + 128
    cv2.imwrite(str(tmp_path / f"a{suffix}"), deep[..., 0] if channels == 1 else deep)
    opened = open_panorama(tmp_path / f"a{suffix}", FULL)
    np.testing.assert_allclose(opened.image_HW3.astype(int), expected, atol=1)


def test_transparent_pixels_are_black_and_reported(tmp_path: Path) -> None:
    alpha = np.full((32, 64, 1), 255, np.uint8)
    alpha[20:] = 0
    Image.fromarray(np.concatenate((smooth(), alpha), axis=-1)).save(tmp_path / "a.png")
    opened = open_panorama(tmp_path / "a.png", FULL)
    assert (opened.image_HW3[20:] == 0).all()
    np.testing.assert_array_equal(opened.image_HW3[:20], smooth()[:20])
    np.testing.assert_array_equal(opened.transparent_HW, alpha[..., 0] == 0)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_a_jpeg_is_reduced_without_a_shift(tmp_path: Path, factor: int) -> None:
    large = smooth(32 * factor, 64 * factor)
    Image.fromarray(large).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    opened = open_panorama(tmp_path / "a.jpg", FULL)
    area_mean = large.reshape(32, factor, 64, factor, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(opened.image_HW3[1:-1].astype(float), area_mean[1:-1], atol=3)
    assert (opened.source_height, opened.source_width) == large.shape[:2]


@pytest.mark.parametrize("size", [(192, 96), (160, 80), (64, 32), (32, 16)])
def test_resizing_wraps_over_the_seam(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    plain = np.asarray(resize_wrapping(Image.fromarray(noise), 64, 32))
    half_turn = np.roll(noise, size[0] // 2, axis=1)
    turned = np.asarray(resize_wrapping(Image.fromarray(half_turn), 64, 32))
    np.testing.assert_array_equal(np.roll(plain, 32, axis=1), turned)


# ---------------------------------------------------------------------------------------------------- refusing


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + b"\0" * 8


def test_a_wrong_shape_is_explained_with_the_field_of_view_that_would_fit(tmp_path: Path) -> None:
    (tmp_path / "street.jpg").write_bytes(png_header(4096, 1600))
    expected = (
        "street.jpg is 4096x1600; a full panorama is 2:1. "
        "Set panorama.vertical_fov = 140.6 (`predict`: --vertical-fov 140.6) for bands "
        "that go all the way round; take it out of the folder if it does not."
    )
    assert message(tmp_path / "street.jpg") == expected


def test_a_full_panorama_among_bands_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(2048, 1024))
    text = message(tmp_path / "a.png", PanoramaConfig(width=2048, vertical_fov=70.3))
    assert "70.3 degrees is 5.12:1" in text and "--vertical-fov 180" in text


def test_a_square_image_is_not_offered_an_impossible_field_of_view(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(1024, 1024))
    assert "stereo pair" in message(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png_header(1024, 4096))
    assert "--vertical-fov" not in message(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(png_header(1024, 2048))
    assert "turn it or correct its EXIF orientation" in message(tmp_path / "a.png")


def test_a_densepass_band_fits_its_field_of_view(tmp_path: Path) -> None:
    Image.new("RGB", (2048, 400)).save(tmp_path / "100_.png")
    opened = open_panorama(tmp_path / "100_.png", PanoramaConfig(width=512, vertical_fov=70.3))
    assert opened.image_HW3.shape == (100, 512, 3)


def test_an_enormous_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    for width, height in ((30_000, 15_000), (60_000, 30_000)):
        (tmp_path / "a.png").write_bytes(png_header(width, height))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow's own words would come before ours
            assert f"is {width}x{height}" in message(tmp_path / "a.png")


def test_a_large_but_allowed_image_draws_no_warning_from_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(24_000, 12_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "broken or truncated" in message(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for share in (0.001, 0.01, 0.1, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: max(1, int(len(whole) * share))])
        assert path.name in message(path)


def test_of_a_damaged_file_pillow_says_nothing_beside_the_error(tmp_path: Path) -> None:
    """In a process of its own: pytest shows warnings whatever filters the code has set."""
    path = tmp_path / "cut.tif"
    Image.fromarray(smooth()).save(path)
    path.write_bytes(path.read_bytes()[:50])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pipeline.errors import InputError\n"
        "from pipeline.panorama.config import PanoramaConfig\n"
        "from pipeline.panorama.images import open_panorama\n"
        "try:\n    open_panorama(Path(sys.argv[1]), PanoramaConfig(width=64))\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("cut.tif cannot be opened as an image")
    assert done.stderr == ""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_flipped_bytes_never_raise_anything_but_an_input_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"noise{suffix}"
    Image.fromarray(smooth()).save(path)
    for damaged in damaged_copies(path.read_bytes(), 60, seed=2):
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                open_panorama(path, FULL)
            except InputError:
                continue


def test_empty_renamed_missing_files_and_folders_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture\n" * 50)
    assert "empty.jpg is empty" in message(tmp_path / "empty.jpg")
    assert "text.jpg cannot be opened as an image" in message(tmp_path / "text.jpg")
    assert "does not exist" in message(tmp_path / "gone.jpg")
    assert f"{tmp_path} is a folder" in message(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert f"{tmp_path / 'pipe.png'} is a pipe" in message(tmp_path / "pipe.png")


def test_an_unreadable_file_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jpg").write_bytes(b"x")
    monkeypatch.setattr(Path, "open", denied)  # the superuser, who may run the tests, can read any file
    assert "a.jpg cannot be read" in message(tmp_path / "a.jpg")


def test_integers_of_32_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 64), 100_000, np.int32)).save(tmp_path / "a.tif")
    assert "32-bit" in message(tmp_path / "a.tif")
