"""What the tables say of a label map, whatever part of the sphere it shows, and the overlay that lies beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from pipeline.classes import IGNORE, LabelSet
from pipeline.evaluate.map_picture import paint_map
from pipeline.panorama.capture import Capture
from pipeline.panorama.images import OpenedPanorama
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import solid_angles
from pipeline.panorama.tags import gpano_xmp
from stages.map_files import map_facts, write_overlay

LABELS = LabelSet("three", ("sky", "road", "tree"), ((90, 90, 255), (90, 90, 90), (0, 200, 0)), thin=())
SKY, ROAD = 0, 1
HEIGHT, WIDTH = 32, 64


def panorama_at(place: Placement) -> OpenedPanorama:
    image_HW3 = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return OpenedPanorama(image_HW3, np.zeros((HEIGHT, WIDTH), np.bool_), place.height, place.width, "", place,
                          capture=Capture(48.5, 9.0))  # fmt: skip


def facts_of(labels_hw: np.ndarray, place: Placement, confidence: float = 0.75, fov: float = 180) -> dict[str, Any]:
    confidence_HW = np.full((HEIGHT // 2, WIDTH // 2), confidence, np.float32)
    return map_facts("a.jpg", panorama_at(place), labels_hw, confidence_HW, LABELS, fov)


def half_sky(height: int = 2 * HEIGHT, width: int = 2 * WIDTH) -> np.ndarray:
    labels_hw = np.full((height, width), ROAD, np.uint8)
    labels_hw[: height // 2] = SKY
    return labels_hw


def test_shares_are_of_the_sphere_and_facts_can_be_written_as_json() -> None:
    facts = facts_of(half_sky(), Placement.whole(2 * HEIGHT, 2 * WIDTH))
    assert (facts["file"], facts["vertical_fov"], facts["capture"]) == ("a.jpg", 180, asdict(Capture(48.5, 9.0)))
    assert facts["seen"] == pytest.approx(1)
    assert facts["shares"] == pytest.approx([0.5, 0.5, 0, 0])
    assert facts["sky_view_factor"] == pytest.approx(1)
    assert facts["doubt"] == pytest.approx(0.25)
    assert json.loads(json.dumps(facts)) == facts


def test_rows_near_the_pole_count_less_than_those_at_the_horizon() -> None:
    labels_hw = np.full((2 * HEIGHT, 2 * WIDTH), ROAD, np.uint8)
    labels_hw[: HEIGHT // 2] = SKY
    expected = (1 - math.sin(math.radians(45))) / 2
    assert facts_of(labels_hw, Placement.whole(2 * HEIGHT, 2 * WIDTH))["shares"][SKY] == pytest.approx(expected)


def test_what_nobody_saw_is_no_share_and_no_doubt() -> None:
    labels_hw = half_sky()
    labels_hw[HEIGHT:] = IGNORE
    facts = facts_of(labels_hw, Placement.whole(2 * HEIGHT, 2 * WIDTH))
    assert facts["seen"] == pytest.approx(0.5)
    assert facts["shares"] == pytest.approx([0.5, 0, 0, 0.5]), "the last is what was not seen"
    assert facts["doubt"] == pytest.approx(0.25)
    nothing = facts_of(np.full_like(labels_hw, IGNORE), Placement.whole(2 * HEIGHT, 2 * WIDTH))
    assert (nothing["seen"], nothing["doubt"], nothing["sky_view_factor"]) == (0, None, None)


def test_a_part_of_the_sphere_is_measured_in_its_place() -> None:
    """The middle quarter of the columns and half of the rows; the sky around it was not seen."""
    place = Placement(2 * HEIGHT, 2 * WIDTH, HEIGHT // 2, 3 * WIDTH // 4, HEIGHT, WIDTH // 2)
    facts = facts_of(half_sky(HEIGHT, WIDTH // 2), place)
    area = float(solid_angles(2 * HEIGHT, 2 * WIDTH, 180)[place.rows].sum()) * place.width / (4 * math.pi)
    assert facts["seen"] == pytest.approx(area)
    assert facts["shares"] == pytest.approx([0.5, 0.5, 0, 0]), "of the picture"
    assert facts["sky_view_factor"] is None


def test_the_sky_of_a_tilted_camera_is_that_above_the_true_horizon() -> None:
    """Labels are of the tilted pixels: rolled by 90 degrees, half of what is above the horizon is their road."""
    tilted = replace(Placement.whole(2 * HEIGHT, 2 * WIDTH), roll=90.0)
    facts = facts_of(half_sky(), tilted)
    assert facts["sky_view_factor"] == pytest.approx(0.5, abs=0.05)
    assert facts["shares"][:2] == pytest.approx([0.5, 0.5]), "these need no level"


def overlay(path: Path, place: Placement, tags: Image.Image, **options: bool) -> Image.Image:
    image_hw3 = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    write_overlay(path, image_hw3, half_sky(HEIGHT, WIDTH), LABELS, place, 180, tags, **options)
    return Image.open(path)


def tagged(xmp: bytes) -> Image.Image:
    """A panorama's file with a camera's name and these GPano tags."""
    exif, file = Image.Exif(), BytesIO()
    exif[ExifTags.Base.Model] = "Sphere One"
    Image.new("RGB", (8, 4)).save(file, "JPEG", exif=exif, xmp=xmp)
    return Image.open(file)


def test_an_overlay_is_the_painted_map_with_the_cameras_tags(tmp_path: Path) -> None:
    place = Placement.whole(HEIGHT, WIDTH)
    found = overlay(tmp_path / "a.jpg", place, tagged(gpano_xmp(place, 180)))
    expected_hw3 = paint_map(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), half_sky(HEIGHT, WIDTH), LABELS, 180)
    np.testing.assert_allclose(np.asarray(found).astype(float), expected_hw3, atol=60)
    assert np.abs(np.asarray(found).astype(float) - expected_hw3).mean() < 8
    assert found.getexif()[ExifTags.Base.Model] == "Sphere One"


def test_own_gpano_tags_stay_unless_the_picture_lies_elsewhere_now(tmp_path: Path) -> None:
    own = gpano_xmp(Placement(2 * HEIGHT, 2 * WIDTH, 8, 8, HEIGHT, WIDTH), 180)
    place = Placement.whole(HEIGHT, WIDTH)
    assert overlay(tmp_path / "kept.jpg", place, tagged(own)).info["xmp"] == own
    anew = overlay(tmp_path / "anew.jpg", place, tagged(own), own_geometry=False)
    assert anew.info["xmp"] == gpano_xmp(place, 180)
