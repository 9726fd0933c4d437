"""Pictures made of panoramas open as panoramas, at their place."""

from __future__ import annotations

import io

import pytest
from PIL import ExifTags, Image

from pipeline.panorama.capture import capture_of
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.gpano import placement_from_tags
from pipeline.panorama.placement import Placement
from pipeline.panorama.tags import gpano_xmp, kept_exif, kept_xmp
from tests.panorama.test_capture import exif_with, gps_of

OWN = b'<x GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="77"/>'


def written(image: Image.Image, **tags: bytes) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **tags)
    return Image.open(buffer)


def test_position_time_and_camera_are_kept_and_the_orientation_is_not() -> None:
    exif = exif_with(gps_of(-33.9, 151.2), {ExifTags.Base.DateTimeOriginal: "2026:05:01 12:30:00", 37500: b"x" * 9000})
    exif[ExifTags.Base.Orientation] = 6
    source = written(Image.new("RGB", (64, 32)), exif=exif.tobytes(), xmp=OWN)
    kept = written(
        Image.new("RGB", (64, 32)), exif=kept_exif(source), xmp=kept_xmp(source, Placement.whole(32, 64), 180)
    )
    assert capture_of(kept) == capture_of(source)
    assert capture_of(kept).latitude == pytest.approx(-33.9) and capture_of(kept).heading == 77
    assert kept.getexif()[ExifTags.Base.Make] == "a camera"
    assert ExifTags.Base.Orientation not in kept.getexif()
    assert 37500 not in kept.getexif().get_ifd(ExifTags.IFD.Exif)  # the maker's note


def test_a_picture_without_tags_gets_those_of_its_place() -> None:
    source = Image.new("RGB", (64, 32))
    assert kept_exif(source) == b""
    xmp = kept_xmp(source, Placement.whole(32, 64), 180)
    assert b'GPano:FullPanoHeightPixels="32"' in xmp and b'GPano:UsePanoramaViewer="True"' in xmp
    assert placement_from_tags(xmp, "x.jpg", 64, 32, PanoramaConfig(64)) is None  # all of the sphere


def test_the_tags_of_a_part_put_it_where_it_was() -> None:
    part = Placement(512, 1024, 100, 200, 300, 400)
    assert placement_from_tags(gpano_xmp(part, 180), "x.jpg", 400, 300, PanoramaConfig(256)) == part


def test_a_band_lies_around_the_horizon() -> None:
    xmp = gpano_xmp(Placement.whole(400, 2048), 70.3125)
    assert b'GPano:FullPanoHeightPixels="1024"' in xmp and b'GPano:CroppedAreaTopPixels="312"' in xmp


def test_damaged_exif_costs_the_tags_and_not_the_picture() -> None:
    source = Image.new("RGB", (64, 32))
    source.info["exif"] = b"Exif\0\0" + b"\xff" * 40
    assert kept_exif(source) == b""
