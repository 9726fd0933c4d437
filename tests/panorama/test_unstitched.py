"""Pictures with a panorama's shape that are none are set aside, black skies and nadirs are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama

FULL = PanoramaConfig(width=64)


def picture(width: int = 128, height: int = 64) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def fisheyes(radius: float, dark: int = 0) -> Image.Image:
    row, column = np.mgrid[:128, :256] + 0.5
    distance = np.hypot(row - 64, np.abs(column - 128) - 64)
    noise = np.asarray(picture(256, 128)) // 2 + 100
    return Image.fromarray(np.where((distance < radius)[..., None], noise, dark).astype(np.uint8))


@pytest.mark.parametrize(("radius", "dark"), [(64, 0), (58, 0), (64, 6)])
def test_two_fisheye_discs_are_set_aside_by_name(tmp_path: Path, radius: float, dark: int) -> None:
    fisheyes(radius, dark).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="two round fisheye pictures"):
        open_panorama(tmp_path / "a.jpg", FULL)


@pytest.mark.parametrize(("content", "nadir"), [(104, 0), (104, 20), (60, 0), (124, 0)])
def test_black_on_the_right_and_at_the_bottom_is_set_aside_with_the_size_of_the_content(
    tmp_path: Path, content: int, nadir: int
) -> None:
    canvas = Image.new("RGB", (256, 128))
    canvas.paste(fisheyes(999).crop((0, 0, 2 * content, content - nadir)))
    canvas.save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"content is about {2 * content}x{content} of 256x128"):
        open_panorama(tmp_path / "a.png", FULL)


@pytest.mark.parametrize(
    "black",
    [np.s_[96:], np.s_[:48], np.s_[:, 200:], np.s_[:, :], np.s_[[*range(30), *range(90, 128)]], np.s_[:, 90:140]],
    ids=["nadir", "night sky", "a strip on the right alone", "everything", "sky and nadir", "a strip inside"],
)
def test_black_of_other_shapes_is_no_reason_to_set_a_panorama_aside(
    tmp_path: Path, black: tuple[slice, slice] | slice
) -> None:
    image_HW3 = np.array(fisheyes(999))
    image_HW3[black] = 0
    Image.fromarray(image_HW3).save(tmp_path / "a.png")
    open_panorama(tmp_path / "a.png", FULL)
