"""Where and when a picture was taken, as cameras write it, rightly and wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image

from pipeline.panorama.capture import Capture, capture_of
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama

GPS = ExifTags.GPS


def exif_with(gps: dict[int, Any], details: dict[int, Any] | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    exif[ExifTags.IFD.GPSInfo] = gps
    exif[ExifTags.IFD.Exif] = details or {}
    written = Image.Exif()  # as it is read back: Pillow puts no other into TIFFs
    written.load(exif.tobytes())
    return written


def gps_of(latitude: float, longitude: float) -> dict[int, Any]:
    """Degrees, minutes and seconds with their directions, as cameras write a position."""

    def parts(value: float) -> tuple[float, float, float]:
        minutes, seconds = divmod(abs(value) * 3600, 60)
        return (float(minutes // 60), float(minutes % 60), seconds)

    return {
        GPS.GPSLatitude: parts(latitude), GPS.GPSLatitudeRef: "S" if latitude < 0 else "N",
        GPS.GPSLongitude: parts(longitude), GPS.GPSLongitudeRef: "W" if longitude < 0 else "E",
    }  # fmt: skip


def taken(tmp_path: Path, exif: Image.Exif, ending: str = "jpg", xmp: str = "") -> Capture:
    path = tmp_path / f"street.{ending}"
    options: dict[str, Any] = {"xmp": xmp.encode()} if xmp else {}
    Image.effect_noise((64, 32), 60).convert("RGB").save(path, exif=exif, **options)
    return open_panorama(path, PanoramaConfig(width=64)).capture


@pytest.mark.parametrize(("north", "east"), [(52.5, 13.4), (40.7, -74.0), (-33.9, 151.2), (-22.9, -43.2), (0, 20)])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_positions_in_all_quarters_of_the_globe(tmp_path: Path, ending: str, north: float, east: float) -> None:
    found = taken(tmp_path, exif_with(gps_of(north, east)), ending)
    assert (found.latitude, found.longitude) == pytest.approx((north, east), abs=1e-6)


def test_a_picture_without_tags_has_no_place_and_time(tmp_path: Path) -> None:
    assert taken(tmp_path, Image.Exif()) == Capture()


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({GPS.GPSLatitude: (95.0, 12.0, 0.0)}, "latitude 95.2"),
        ({GPS.GPSLongitude: (200.0, 0.0, 0.0)}, "longitude 200"),
        ({GPS.GPSLatitudeRef: ""}, "tags that are no pair of degrees with their directions"),
        ({GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)}, "latitude and longitude 0"),
    ],
)
def test_a_wrong_position_is_left_out_with_the_reason(tmp_path: Path, changes: dict[int, Any], doubt: str) -> None:
    found = taken(tmp_path, exif_with(gps_of(52.5, 13.4) | {GPS.GPSAltitude: 30.0} | changes))
    assert (found.latitude, found.longitude, found.altitude) == (None, None, None)
    assert found.doubt.startswith(doubt)


def test_half_a_position_is_none(tmp_path: Path) -> None:
    found = taken(tmp_path, exif_with({GPS.GPSLatitude: (52.0, 30.0, 0.0), GPS.GPSLatitudeRef: "N"}))
    assert found.latitude is None and found.doubt


@pytest.mark.parametrize(("reference", "metres"), [(b"\x00", 34.5), (b"\x01", -34.5)])
def test_altitudes_below_the_sea_are_negative(tmp_path: Path, reference: bytes, metres: float) -> None:
    tags = {**gps_of(52, 5), GPS.GPSAltitude: 34.5, GPS.GPSAltitudeRef: reference}
    assert taken(tmp_path, exif_with(tags)).altitude == pytest.approx(metres)


def test_the_heading_is_gpanos_before_exifs(tmp_path: Path) -> None:
    exif = exif_with({GPS.GPSImgDirection: 12.5, GPS.GPSImgDirectionRef: "T"})
    assert taken(tmp_path, exif).heading == pytest.approx(12.5)
    assert taken(tmp_path, exif, xmp='<GPano:PoseHeadingDegrees="-90"/>').heading == 270


@pytest.mark.parametrize(
    ("gps", "details", "time"),
    [
        ({}, {ExifTags.Base.DateTimeOriginal: "2026:05:01 12:30:00"}, "2026-05-01T12:30:00"),
        ({}, {ExifTags.Base.DateTimeOriginal: "2026:05:01 12:30:00", ExifTags.Base.OffsetTimeOriginal: "+02:00"},
         "2026-05-01T12:30:00+02:00"),
        ({GPS.GPSDateStamp: "2026:05:01", GPS.GPSTimeStamp: (10.0, 30.0, 5.0)},
         {ExifTags.Base.DateTimeOriginal: "2026:05:01 12:30:00"}, "2026-05-01T10:30:05+00:00"),
        ({}, {ExifTags.Base.DateTimeOriginal: "0000:00:00 00:00:00"}, ""),
        ({GPS.GPSDateStamp: "2026:05:01", GPS.GPSTimeStamp: (99.0, 0.0, 0.0)}, {}, ""),
    ],
)  # fmt: skip
def test_times_have_an_offset_where_one_is_known(
    tmp_path: Path, gps: dict[int, Any], details: dict[int, Any], time: str
) -> None:
    assert taken(tmp_path, exif_with(gps, details)).time == time


def test_damaged_exif_is_passed_over() -> None:
    image = Image.new("RGB", (64, 32))
    image.info["exif"] = b"Exif\0\0" + b"\xff" * 40
    assert capture_of(image) == Capture()
