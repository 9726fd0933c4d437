"""Pictures with a colour profile: conversion of their colours, and notes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import OpenedPanorama, open_panorama
from tests.panorama.damage import damaged_copies

FULL = PanoramaConfig(width=64)
D50_XYZ = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SPACES = {  # primaries, white point, gamma
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65, 2.2),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 2.2),
    "ProPhoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50, 1.8),
}
Curve = float | npt.NDArray[np.float64]
"""An exponent, or the linear light of equidistant values."""


def xyz(chromaticity: tuple[float, float]) -> npt.NDArray[np.float64]:
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_d50(primaries: Sequence[tuple[float, float]], white: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Matrix from linear RGB to XYZ, adapted to D50 by Bradford's method."""
    columns = np.stack([xyz(p) for p in primaries], axis=1)
    own = columns * np.linalg.solve(columns, xyz(white))
    cones = np.diag((BRADFORD @ D50_XYZ) / (BRADFORD @ xyz(white)))
    return np.linalg.inv(BRADFORD) @ cones @ BRADFORD @ own


def s15(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def curve_tag(curve: Curve) -> bytes:
    if isinstance(curve, float):
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(curve * 256)) + bytes(2)
    table = np.rint(curve * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", len(table)) + table.tobytes() + bytes(-2 * len(table) % 4)


def text_tag(text: str) -> bytes:
    ascii_part = struct.pack(">I", len(text) + 1) + text.encode() + b"\0"
    body = b"desc" + bytes(4) + ascii_part + bytes(8) + bytes(3) + bytes(67)
    return body + bytes(-len(body) % 4)


def icc(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    """A minimal profile of version 2 for a display."""
    tags = {b"desc": text_tag(name), b"cprt": b"text" + bytes(4) + b"none", b"wtpt": xyz_tag(D50_XYZ), **tags}
    start = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for key, body in tags.items():
        table += key + struct.pack(">II", start + len(bodies), len(body))
        bodies += body
    header = struct.pack(">I4s4s4s4s4s", start + len(bodies), bytes(4), b"\2\x40\0\0", b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + s15(*D50_XYZ) + bytes(48)
    return header + table + bodies


def xyz_tag(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + s15(*values)


def rgb_profile(name: str, primaries: Sequence[tuple[float, float]], white: tuple[float, float], curve: Curve) -> bytes:
    columns = to_d50(primaries, white).T
    tags = {key: xyz_tag(c) for key, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return icc(b"RGB ", name, tags | {key: curve_tag(curve) for key in (b"rTRC", b"gTRC", b"bTRC")})


def grey_profile(gamma: float) -> bytes:
    return icc(b"GRAY", "grey", {b"kTRC": curve_tag(gamma)})


def srgb_to_linear(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def expected(image_HW3: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.float64]:
    """sRGB of a picture in one of SPACES by colour math, 0..255."""
    primaries, white, gamma = SPACES[name]
    matrix = np.linalg.inv(to_d50(SRGB, D65)) @ to_d50(primaries, white)
    light = (image_HW3 / 255) ** gamma @ matrix.T
    return 255 * linear_to_srgb(np.clip(light, 0, 1))


def profile_of(name: str) -> bytes:
    primaries, white, gamma = SPACES[name]
    return rgb_profile(name, primaries, white, gamma)


def colours(height: int = 32, width: int = 64) -> npt.NDArray[np.uint8]:
    """Smooth, with saturated, dark and light colours."""
    v, u = np.mgrid[:height, :width]
    channels = (255 * v / (height - 1), 255 * u / (width - 1), 127.5 + 127.5 * np.cos(u * 2 * np.pi / width))
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def opened(path: Path) -> OpenedPanorama:
    return open_panorama(path, FULL)


def difference(a: npt.NDArray[np.generic], b: npt.NDArray[np.generic]) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).max())


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_wide_gamuts_become_srgb_by_colour_math(tmp_path: Path, name: str, suffix: str) -> None:
    Image.fromarray(colours()).save(tmp_path / f"a{suffix}", icc_profile=profile_of(name), lossless=True)
    panorama = opened(tmp_path / f"a{suffix}")
    assert difference(expected(colours(), name), colours()) > 15  # there is something to convert
    assert difference(panorama.image_HW3, expected(colours(), name)) <= 2
    assert panorama.notes == (f"pictures with the colour profile {name!r} are converted to sRGB",)


@pytest.mark.parametrize("factor", [1, 4])
def test_a_jpeg_is_converted_whether_it_is_reduced_or_not(tmp_path: Path, factor: int) -> None:
    muted_HW3 = 96 + colours(32 * factor, 64 * factor) // 4
    for name, profile in (("a.jpg", profile_of("Adobe RGB")), ("plain.jpg", b"")):
        Image.fromarray(muted_HW3).save(tmp_path / name, quality=97, icc_profile=profile)
    plain_HW3, converted_HW3 = (opened(tmp_path / name).image_HW3[1:-1, 1:-1] for name in ("plain.jpg", "a.jpg"))
    assert difference(expected(plain_HW3, "Adobe RGB"), plain_HW3) > 10
    assert difference(converted_HW3, expected(plain_HW3, "Adobe RGB")) <= 2


def test_a_large_profile_in_several_pieces_of_a_jpeg_is_put_together(tmp_path: Path) -> None:
    primaries, white, gamma = SPACES["Adobe RGB"]
    table = np.linspace(0, 1, 4096) ** gamma
    profile = rgb_profile("large", primaries, white, table) + bytes(100_000)
    profile = struct.pack(">I", len(profile)) + profile[4:]
    Image.fromarray(colours()).save(tmp_path / "a.jpg", quality=97, icc_profile=profile)
    Image.fromarray(colours()).save(tmp_path / "plain.jpg", quality=97)
    plain_HW3 = opened(tmp_path / "plain.jpg").image_HW3
    assert difference(opened(tmp_path / "a.jpg").image_HW3, expected(plain_HW3, "Adobe RGB")) <= 2


def test_a_tiff_of_16_bits_in_separate_planes_is_converted_too(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    planes = np.moveaxis(colours().astype(np.uint16) * 257, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate",
                     iccprofile=profile_of("ProPhoto"))  # fmt: skip
    assert difference(opened(tmp_path / "a.tif").image_HW3, expected(colours(), "ProPhoto")) <= 2


def test_a_picture_on_its_side_is_converted_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    turned = np.ascontiguousarray(np.rot90(colours()))
    Image.fromarray(turned).save(tmp_path / "a.png", exif=exif, icc_profile=profile_of("ProPhoto"))
    assert difference(opened(tmp_path / "a.png").image_HW3, expected(colours(), "ProPhoto")) <= 2


def test_transparency_and_palettes_keep_their_meaning(tmp_path: Path) -> None:
    alpha = np.full((32, 64, 1), 255, np.uint8)
    alpha[20:] = 0
    Image.fromarray(np.concatenate((colours(), alpha), axis=-1)).save(
        tmp_path / "a.png", icc_profile=profile_of("Adobe RGB")
    )
    panorama = opened(tmp_path / "a.png")
    assert (panorama.image_HW3[20:] == 0).all() and panorama.transparent_HW[20:].all()
    assert difference(panorama.image_HW3[:20], expected(colours(), "Adobe RGB")[:20]) <= 2
    palette = Image.fromarray(colours()).quantize(64)
    palette.save(tmp_path / "p.png", icc_profile=profile_of("Adobe RGB"))
    plain_HW3 = np.asarray(palette.convert("RGB"))
    assert difference(opened(tmp_path / "p.png").image_HW3, expected(plain_HW3, "Adobe RGB")) <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
@pytest.mark.parametrize("gamma", [1.8, 2.6])
def test_grey_with_a_grey_profile_becomes_srgb(tmp_path: Path, mode: str, gamma: float) -> None:
    grey = Image.fromarray(colours()[..., 1]).convert(mode)
    grey.save(tmp_path / "a.png", icc_profile=grey_profile(gamma))
    values_HW = np.asarray(grey.convert("L"))[..., None] / 255
    expected_HW3 = np.repeat(255 * linear_to_srgb(values_HW**gamma), 3, axis=-1)
    assert difference(opened(tmp_path / "a.png").image_HW3, expected_HW3) <= 2


def test_grey_with_a_profile_of_colour_goes_through_it(tmp_path: Path) -> None:
    grey_HW = colours()[..., 1]
    Image.fromarray(grey_HW).save(tmp_path / "a.png", icc_profile=profile_of("ProPhoto"))
    expected_HW3 = expected(np.repeat(grey_HW[..., None], 3, axis=-1), "ProPhoto")
    assert difference(opened(tmp_path / "a.png").image_HW3, expected_HW3) <= 2


@pytest.mark.parametrize("made_by", ["Pillow", "an exact curve", "a curve of 26 steps"])
def test_a_profile_that_is_srgb_changes_nothing(tmp_path: Path, made_by: str) -> None:
    table = srgb_to_linear(np.linspace(0, 1, 1024))
    if made_by == "a curve of 26 steps":
        table = srgb_to_linear(np.linspace(0, 1, 26))
    profile = rgb_profile("by another name", SRGB, D65, table)
    if made_by == "Pillow":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profile)
    panorama = opened(tmp_path / "a.png")
    np.testing.assert_array_equal(panorama.image_HW3, colours())
    assert panorama.notes == ()


def test_a_profile_that_calls_itself_srgb_and_is_not_is_converted(tmp_path: Path) -> None:
    primaries, white, gamma = SPACES["Adobe RGB"]
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=rgb_profile("sRGB", primaries, white, gamma))
    assert difference(opened(tmp_path / "a.png").image_HW3, expected(colours(), "Adobe RGB")) <= 2


BROKEN = {
    "noise": (b"no profile at all" * 40, "cannot be read"),
    "cut": (profile_of("Adobe RGB")[:300], "cannot be read"),
    "of CMYK": (icc(b"CMYK", "ink", {}), "one of CMYK pictures, and they are RGB"),
    "of grey": (grey_profile(2.2), "one of GRAY pictures, and they are RGB"),
    "without curves": (icc(b"RGB ", "empty", {}), "cannot be read"),
    "black": (icc(b"RGB ", "black", {key: xyz_tag(np.zeros(3)) for key in (b"rXYZ", b"gXYZ", b"bXYZ")}
                  | {key: curve_tag(2.2) for key in (b"rTRC", b"gTRC", b"bTRC")}), "makes white dark"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_profile_that_cannot_be_used_is_reported_and_costs_nothing(tmp_path: Path, kind: str) -> None:
    profile, why = BROKEN[kind]
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        for name, given in (("a", profile), ("plain", b"")):
            Image.fromarray(colours()).save(tmp_path / f"{name}{suffix}", icc_profile=given)
        panorama = opened(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(panorama.image_HW3, opened(tmp_path / f"plain{suffix}").image_HW3)
        assert len(panorama.notes) == 1 and why in panorama.notes[0]
        assert panorama.notes[0].startswith("pictures with a colour profile that cannot be used are treated as sRGB")


def test_damage_anywhere_in_a_profile_never_costs_the_panorama(tmp_path: Path) -> None:
    whole = profile_of("Adobe RGB")
    for damaged in damaged_copies(whole, 100, seed=3, within=len(whole), wrong=4):
        Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=damaged)
        assert opened(tmp_path / "a.png").image_HW3.shape == (32, 64, 3)


def test_other_processes_see_the_same_colours(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=profile_of("Adobe RGB"))
    here = opened(tmp_path / "a.png")
    with ProcessPoolExecutor(1) as pool:
        there = pool.submit(opened, tmp_path / "a.png").result()
    np.testing.assert_array_equal(here.image_HW3, there.image_HW3)
    assert here.notes == there.notes
