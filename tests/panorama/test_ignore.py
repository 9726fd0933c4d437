"""What is ignored: black borders, masks, transparency; and what is not: sky, road, night."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import find_panoramas
from pipeline.panorama.ignore import constant_border, ignored_region, load_ignore_mask
from pipeline.panorama.images import open_panorama
from tests.real_data import REAL_DATA

PANORAMAS = REAL_DATA / "panoramas"
H, W = 64, 128


def scene(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Noise, nowhere black."""
    return np.random.default_rng(seed).integers(40, 256, (H, W, 3), dtype=np.uint8)


def curved_nadir() -> npt.NDArray[np.bool_]:
    """The lowest fifth, with a wavy upper edge that wraps."""
    edge = 50 + 4 * np.sin(np.arange(W) * 4 * np.pi / W)
    return np.arange(H)[:, None] >= edge


def test_a_black_nadir_with_a_curved_edge_is_found_in_full_and_no_more() -> None:
    image, nadir = scene(), curved_nadir()
    image[nadir] = 0
    found = constant_border(image)
    assert found[nadir].all()
    assert not found[:-2][~nadir[2:]].any()  # at most the mixed row above it


def test_a_black_nadir_survives_jpeg_noise(tmp_path: Path) -> None:
    image, nadir = scene(), np.repeat(np.arange(H)[:, None] >= 48, W, axis=1)
    image[nadir] = 0
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=60)
    found = constant_border(np.asarray(Image.open(tmp_path / "a.jpg")))
    assert found[nadir].all() and found[~nadir].sum() <= 2 * W


def test_specks_in_the_black_do_not_stop_it() -> None:
    image = scene()
    image[48:] = 0
    image[55, 10:13] = 200
    image[60, 0] = 200
    assert constant_border(image)[48:].all()


@pytest.mark.parametrize("colour", [255, 250, 128, 20])
def test_a_constant_sky_or_ground_that_is_not_black_is_kept(colour: int) -> None:
    image = scene()
    image[:20] = colour
    image[50:] = colour
    assert not constant_border(image).any()


def test_a_black_top_is_ignored_only_if_it_is_exactly_black() -> None:
    image = scene()
    image[:10] = 0
    assert constant_border(image)[:10].all()
    image[:10] = np.random.default_rng(1).integers(0, 4, (10, W, 3))  # a night sky
    assert not constant_border(image).any()


def test_dark_things_on_the_ground_are_kept() -> None:
    image = scene()
    image[40:, 30:60] = 0  # a black car at the bottom border, not all around
    assert not constant_border(image).any()


def test_a_black_border_of_less_than_the_minimum_share_is_kept() -> None:
    for rows, is_border in ((1, False), (4, True)):  # of 200: half a percent, two percent
        image = np.full((200, 96, 3), 90, np.uint8)
        image[-rows:] = 0
        assert constant_border(image)[-rows:].all() == is_border


# ---------------------------------------------------------------------------------------------------- masks


def test_a_mask_is_read_at_the_working_size_and_thin_lines_survive(tmp_path: Path) -> None:
    mask = np.zeros((8 * H, 8 * W), np.uint8)
    mask[:, 103] = 1  # an antenna one source pixel wide, of the smallest non-zero value
    Image.fromarray(mask).save(tmp_path / "rig.png")
    loaded = load_ignore_mask(tmp_path / "rig.png", H, W)
    np.testing.assert_array_equal(loaded, np.repeat((np.arange(W) == 103 // 8)[None], H, axis=0))
    assert not loaded.flags.writeable


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA"])
def test_masks_of_any_mode_are_read(tmp_path: Path, mode: str) -> None:
    mask = np.zeros((H, W), np.uint8)
    mask[:5] = 255
    image = Image.fromarray(mask).convert("RGB").convert(mode)
    image.save(tmp_path / "rig.png")
    np.testing.assert_array_equal(load_ignore_mask(tmp_path / "rig.png", H, W), mask > 0)


def test_a_mask_that_was_edited_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "rig.png"
    for value, when in ((255, 1), (0, 2)):
        Image.new("L", (W, H), value).save(path)
        os.utime(path, (when, when))
        assert load_ignore_mask(path, H, W).all() == (value > 0)


def test_a_mask_of_another_shape_and_a_jpeg_are_refused(tmp_path: Path) -> None:
    Image.new("L", (W, W)).save(tmp_path / "square.png")
    Image.new("L", (W, H)).save(tmp_path / "rig.jpg")
    with pytest.raises(InputError, match=r"square\.png is 128x128; panoramas of this run are 128x64"):
        load_ignore_mask(tmp_path / "square.png", H, W)
    with pytest.raises(InputError, match=r"rig\.jpg is a JPEG"):
        load_ignore_mask(tmp_path / "rig.jpg", H, W)


def test_the_ignored_region_is_the_union_of_what_the_settings_ask_for(tmp_path: Path) -> None:
    image = scene()
    image[50:] = 0
    mask, transparent = np.zeros((H, W), np.uint8), np.zeros((H, W), np.bool_)
    mask[:, :7] = 1
    transparent[3, 20] = True
    Image.fromarray(mask).save(tmp_path / "rig.png")
    both = PanoramaConfig(width=W, ignore_mask=str(tmp_path / "rig.png"))
    expected = constant_border(image) | (mask > 0)
    np.testing.assert_array_equal(ignored_region(image, both), expected)
    np.testing.assert_array_equal(ignored_region(image, both, transparent), expected | transparent)
    neither = PanoramaConfig(width=W, find_constant_border=False)
    assert not ignored_region(image, neither).any()


# ---------------------------------------------------------------------------------------------------- real ones


@pytest.mark.skipif(not PANORAMAS.is_dir(), reason=f"no {PANORAMAS}: black nadirs of real panoramas untested")
def test_real_street_panoramas_lose_their_black_nadir_and_nothing_else() -> None:
    config = PanoramaConfig(width=512)
    for file in find_panoramas(PANORAMAS)[::8]:
        image = open_panorama(file.path, config).image_HW3
        ignored = ignored_region(image, config)
        assert ignored[-40:].all(), file.id  # the nadir is black from row 195 to 217 of 256 on
        assert not ignored[:190].any(), file.id
        assert 0.18 < ignored.mean() < 0.21, file.id
