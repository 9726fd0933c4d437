"""Levelling: the sphere of a tilted camera is turned to the horizon, and labels come back to its own pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import RecipeError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama
from pipeline.panorama.labels import open_labels
from pipeline.panorama.level import level_image, level_note, level_values, unlevel_values
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import panorama_rays, rotation

HEIGHT, WIDTH = 128, 256
SPHERE = PanoramaConfig(width=WIDTH)
TILTS = [(12.0, 0.0), (0.0, 20.0), (-7.5, 3.25), (60.0, -150.0)]
"""(pitch, roll), degrees."""


def colours(rays_HW3: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """A smooth colour per direction of the level world."""
    x, y, z = np.moveaxis(rays_HW3, -1, 0)
    return np.rint(130 + 90 * np.stack((np.sin(3 * x + y), np.cos(2 * z - y), y * x + z), axis=-1) / 1.6).astype(
        np.uint8
    )


def classes(rays_HW3: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """A class per direction: six sectors above the horizon, six below."""
    x, y, z = np.moveaxis(rays_HW3, -1, 0)
    return (((np.arctan2(x, z) + np.pi) / (2 * np.pi) * 6).astype(np.uint8) % 6 + 6 * (y > 0)).astype(np.uint8)


def seen_by(pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """The directions in the world that a tilted camera's pixels have."""
    return panorama_rays(HEIGHT, WIDTH) @ rotation(0, pitch, roll).T


def tilted(pitch: float, roll: float) -> Placement:
    return replace(Placement.whole(HEIGHT, WIDTH), pitch=pitch, roll=roll)


def write(path: Path, image: npt.NDArray[np.uint8], pitch: float, roll: float, **tags: Any) -> Path:
    pose = {"PosePitchDegrees": pitch, "PoseRollDegrees": roll, "PoseHeadingDegrees": 77.0} | tags
    xmp = " ".join(f'GPano:{key}="{value}"' for key, value in pose.items())
    Image.fromarray(image).save(path, xmp=xmp.encode(), quality=95)
    return path


@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_the_image_of_a_tilted_camera_becomes_that_of_a_level_one(tmp_path: Path, pitch: float, roll: float) -> None:
    opened = open_panorama(write(tmp_path / "a.jpg", colours(seen_by(pitch, roll)), pitch, roll), SPHERE)
    wanted = colours(panorama_rays(HEIGHT, WIDTH)).astype(int)
    assert np.abs(opened.image_HW3 - wanted).mean() > 4  # it is no small thing
    difference = np.abs(level_image(opened.image_HW3, opened.placement) - wanted)
    assert difference.mean() < 1.5 and difference.max() < 16


@pytest.mark.parametrize(("pitch", "roll"), TILTS)
def test_labels_become_level_and_come_back_to_the_cameras_pixels(pitch: float, roll: float) -> None:
    camera, level = classes(seen_by(pitch, roll)), classes(panorama_rays(HEIGHT, WIDTH))
    place = tilted(pitch, roll)
    assert (level_values(camera, place) == level).mean() > 0.97
    assert (unlevel_values(level, place) == camera).mean() > 0.97
    assert (unlevel_values(level_values(camera, place), place) == camera).mean() > 0.95


def test_the_signs_are_those_of_the_tags() -> None:
    """Written out without the code's rotations: up is lower in the picture, right side down is ground on the right."""
    ground = (panorama_rays(HEIGHT, WIDTH)[..., 1] > 0).astype(np.uint8)
    middle, right = WIDTH // 2, WIDTH * 3 // 4
    looking_up = unlevel_values(ground, tilted(10, 0))
    assert looking_up[:, middle].argmax() == pytest.approx(HEIGHT / 2 + HEIGHT * 10 / 180, abs=1.1)
    assert looking_up[:, 0].argmax() == pytest.approx(HEIGHT / 2 - HEIGHT * 10 / 180, abs=1.1)
    right_down = unlevel_values(ground, tilted(0, 10))
    assert right_down[:, right].argmax() == pytest.approx(HEIGHT / 2 - HEIGHT * 10 / 180, abs=1.1)
    assert right_down[:, middle].argmax() == pytest.approx(HEIGHT / 2, abs=1.1)


def test_truth_of_a_tilted_camera_is_levelled_and_lies_beside_nothing(tmp_path: Path) -> None:
    Image.fromarray(classes(seen_by(12, 5))).save(tmp_path / "a.png")
    labels = open_labels(tmp_path / "a.png", DENSEPASS_13, SPHERE, placement=tilted(12, 5))
    assert (labels == classes(panorama_rays(HEIGHT, WIDTH))).mean() > 0.97 and IGNORE not in labels


def test_a_tilted_part_is_levelled_at_its_place() -> None:
    place = Placement(HEIGHT, WIDTH, 20, 40, 60, 100, pitch=8, roll=-4)
    part = place.cut(classes(seen_by(8, -4)))
    level = level_values(place.put(part, IGNORE), place)
    seen = level != IGNORE
    assert 0.1 < seen.mean() < 0.3
    assert (level == classes(panorama_rays(HEIGHT, WIDTH)))[seen].mean() > 0.97
    back = place.cut(unlevel_values(level, place))
    assert (back == part).mean() > 0.94


@pytest.mark.parametrize(("pitch", "roll"), [(10.0, 0.0), (-6.0, 8.0)])
def test_a_band_is_levelled_and_what_it_did_not_see_is_black_and_ignored(
    tmp_path: Path, pitch: float, roll: float
) -> None:
    config = PanoramaConfig(WIDTH, vertical_fov=90)
    band = slice(HEIGHT // 4, HEIGHT * 3 // 4)
    path = write(tmp_path / "a.jpg", colours(seen_by(pitch, roll))[band], pitch, roll)
    opened = open_panorama(path, config)
    level = level_image(opened.image_HW3, opened.placement)
    seen = ~level_values(np.zeros(level.shape[:2], np.bool_), opened.placement)
    looks_at = panorama_rays(HEIGHT, WIDTH)[band] @ rotation(0, pitch, roll)  # as the camera sees the level band
    pitch_of_camera = np.degrees(np.arcsin(-looks_at[..., 1]))
    assert (seen != (np.abs(pitch_of_camera) < 45)).mean() < 0.02
    assert 0.7 < seen.mean() < 0.98
    wanted = colours(panorama_rays(HEIGHT, WIDTH)[band]).astype(int)
    inner = np.abs(pitch_of_camera) < 43
    assert np.abs(level[inner] - wanted[inner]).mean() < 1.5
    assert (level[~seen] == 0).all()
    truth = level_values(classes(seen_by(pitch, roll))[band], opened.placement)
    assert (truth[~seen] == IGNORE).all()
    assert (truth[seen] == classes(panorama_rays(HEIGHT, WIDTH))[band][seen]).mean() > 0.97
    back = unlevel_values(truth, opened.placement)
    here = back != IGNORE
    assert (back[here] == classes(seen_by(pitch, roll))[band][here]).mean() > 0.95


@pytest.mark.parametrize(("pitch", "roll"), [(2.0, 0.0), (-6.0, 8.0)])
def test_the_rim_of_a_levelled_band_has_nothing_of_its_opposite_side(pitch: float, roll: float) -> None:
    """The front of the world is black, its back bright: half a turn away from each pixel lies the other."""
    place = replace(tilted(pitch, roll), canvas_height=HEIGHT // 2, height=HEIGHT // 2, vertical_fov=90)
    band = slice(HEIGHT // 4, HEIGHT * 3 // 4)
    looks_to = seen_by(pitch, roll)[band][..., 2]
    image = np.repeat(np.where(looks_to < 0, np.uint8(250), np.uint8(0))[..., None], 3, axis=2)
    level = level_image(image, place)
    seen = ~level_values(np.zeros(level.shape[:2], np.bool_), place)
    world = panorama_rays(HEIGHT, WIDTH)[band][..., 2]
    assert (level[seen & (world > 0.1)] == 0).all()
    assert (level[seen & (world < -0.1)] == 250).all()


@pytest.mark.parametrize(
    ("pitch", "roll", "config"),
    [
        (0.4, -0.5, SPHERE),
        (9.0, 9.0, PanoramaConfig(WIDTH, level="off")),
        (95.0, 9.0, SPHERE),
    ],
    ids=["level enough", "off", "no possible pitch"],
)
def test_where_nothing_is_to_be_levelled_the_image_stays(
    tmp_path: Path, pitch: float, roll: float, config: PanoramaConfig
) -> None:
    image = colours(panorama_rays(HEIGHT, WIDTH))[: round(HEIGHT * config.vertical_fov / 180)]
    opened = open_panorama(write(tmp_path / "a.jpg", image, pitch, roll), config)
    assert not opened.placement.is_tilted and opened.placement.tilt == 0
    assert level_image(opened.image_HW3, opened.placement) is opened.image_HW3


def test_the_note_says_by_how_much_and_the_setting_is_checked() -> None:
    assert level_note([]) == ""
    assert level_note([tilted(p, 0).tilt for p in (1, 12, -3)]).startswith(
        "3 panoramas levelled: according to GPano tags, the camera was tilted by up to 12.0 degrees (median 3.0)"
    )
    with pytest.raises(RecipeError, match=r"panorama\.level"):
        PanoramaConfig(level="yes")
