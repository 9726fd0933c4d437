"""Where and when a picture was taken, as cameras write it, rightly and wrongly."""

from __future__ import annotations

import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from pipeline.panorama.capture import Capture, capture_of
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.images import open_panorama

GPS = ExifTags.GPS
pytestmark = pytest.mark.filterwarnings("ignore:Metadata Warning")  # of Pillow, on wrong counts: it takes the first


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


BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SIGNED, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12
"""Types of EXIF's values."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes that a value of each type takes."""
DETAILS = ExifTags.Base
Tags = dict[int, tuple[int, bytes]]
"""Types and bytes of tags."""


def pairs(*numbers: int) -> bytes:
    """Numerators and denominators in turn."""
    return struct.pack(f"<{len(numbers)}i", *numbers)


def directory(tags: Tags, at: int) -> bytes:
    """A directory of EXIF's that lies so many bytes behind EXIF's beginning."""
    entries, content = b"", b""
    behind = at + 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", behind + len(content))
        content += value if len(value) > 4 else b""
        entries += struct.pack("<2HI", tag, kind, len(value) // SIZES[kind]) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + content


def picture_with(gps: Tags, details: Tags) -> Image.Image:
    """A picture with tags of any type, which Pillow would not write."""
    at = 8 + 2 + 2 * 12 + 4
    first = directory(gps, at)
    places: Tags = {ExifTags.IFD.GPSInfo: (LONG, struct.pack("<I", at)),
                    ExifTags.IFD.Exif: (LONG, struct.pack("<I", at + len(first)))}  # fmt: skip
    image = Image.new("RGB", (64, 32))
    image.info["exif"] = (b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory(places, 8) + first
                          + directory(details, at + len(first)))  # fmt: skip
    return image


GOOD: Tags = {
    GPS.GPSLatitude: (RATIONAL, pairs(52, 1, 30, 1, 0, 1)), GPS.GPSLatitudeRef: (ASCII, b"N\0"),
    GPS.GPSLongitude: (RATIONAL, pairs(13, 1, 24, 1, 0, 1)), GPS.GPSLongitudeRef: (ASCII, b"E\0"),
    GPS.GPSAltitude: (RATIONAL, pairs(30, 1)), GPS.GPSAltitudeRef: (BYTE, b"\0"),
    GPS.GPSImgDirection: (RATIONAL, pairs(77, 1)),
    GPS.GPSDateStamp: (ASCII, b"2026:05:01\0"), GPS.GPSTimeStamp: (RATIONAL, pairs(10, 1, 30, 1, 5, 1)),
}  # fmt: skip
UNREADABLE = [
    (ASCII, b"A\0"),
    (ASCII, b"12\0"),
    (ASCII, b""),
    (UNDEFINED, b"\x05\x06\x07"),
    (SHORT, struct.pack("<2H", 2, 1)),
    (SHORT, struct.pack("<4H", 2, 3, 4, 5)),
    (RATIONAL, pairs(1, 0)),
    (RATIONAL, pairs(1, 0, 0, 0, 0, 0)),
    (DOUBLE, struct.pack("<d", float("nan"))),
    (DOUBLE, struct.pack("<3d", float("inf"), 1, 1)),
    (SIGNED, pairs(5, 1, 5, 0, 5, 1)),
]
"""Values that are neither degrees nor a time of the day, nor a reference of altitudes."""


def shown(gps: Tags | None = None, details: Tags | None = None) -> Capture:
    return capture_of(picture_with(GOOD | (gps or {}), details or {}))


def test_tags_of_the_usual_types_are_read() -> None:
    assert shown() == Capture(52.5, 13.4, 30.0, 77.0, "2026-05-01T10:30:05+00:00")
    assert shown({GPS.GPSAltitudeRef: (SHORT, b"\1\0")}).altitude == -30
    a_hair_west_of_north: Tags = {GPS.GPSImgDirection: (DOUBLE, struct.pack("<d", -1e-20))}
    assert shown(a_hair_west_of_north).heading == 0


@pytest.mark.parametrize("value", [*UNREADABLE, (RATIONAL, pairs(12, 1)), (SHORT, b"\x0c\0"),
                                   (SIGNED, pairs(-1, 1, 2, 1, 3, 1)), (SIGNED, pairs(1, 1, -2, 1, 3, 1)),
                                   (RATIONAL, pairs(10, 1, 30, 1)), (RATIONAL, pairs(10, 1, 60, 1, 0, 1))])  # fmt: skip
def test_a_time_that_cannot_be_read_is_passed_over(value: tuple[int, bytes]) -> None:
    assert shown({GPS.GPSTimeStamp: value}) == Capture(52.5, 13.4, 30.0, 77.0, "")
    taken_then: Tags = {DETAILS.DateTimeOriginal: (ASCII, b"2026:05:01 12:30:00\0")}
    assert shown({GPS.GPSTimeStamp: value}, taken_then).time == "2026-05-01T12:30:00"


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_reference_of_altitudes_that_cannot_be_read_is_passed_over(value: tuple[int, bytes]) -> None:
    assert shown({GPS.GPSAltitudeRef: value}) == shown()


@pytest.mark.parametrize(
    "value", [value for value in UNREADABLE if value != (ASCII, b"12\0") and value[0] not in (SHORT, SIGNED)]
)
def test_altitudes_and_headings_that_cannot_be_read_are_passed_over(value: tuple[int, bytes]) -> None:
    assert shown({GPS.GPSAltitude: value}) == Capture(52.5, 13.4, None, 77.0, "2026-05-01T10:30:05+00:00")
    assert shown({GPS.GPSImgDirection: value}) == Capture(52.5, 13.4, 30.0, None, "2026-05-01T10:30:05+00:00")


@pytest.mark.parametrize("value", [value for value in UNREADABLE if value[0] != SHORT])
@pytest.mark.parametrize("tag", [GPS.GPSLatitude, GPS.GPSLongitude])
def test_degrees_that_cannot_be_read_are_told(tag: int, value: tuple[int, bytes]) -> None:
    doubt = "tags that are no pair of degrees with their directions"
    assert shown({tag: value}) == Capture(None, None, None, 77.0, "2026-05-01T10:30:05+00:00", doubt)


@pytest.mark.parametrize("value", [(SHORT, b"\1\0"), (ASCII, b"May\0"), (UNDEFINED, b"\xff\xfe\0"), (ASCII, b"")])
def test_dates_that_cannot_be_read_are_passed_over(value: tuple[int, bytes]) -> None:
    taken_then: Tags = {DETAILS.DateTimeOriginal: (ASCII, b"2026:05:01 12:30:00\0")}
    assert shown({GPS.GPSDateStamp: value}, taken_then).time == "2026-05-01T12:30:00"
    assert shown({}, {DETAILS.DateTimeOriginal: value}) == shown()


@pytest.mark.parametrize("value", [(SHORT, b"\2\0"), (ASCII, b"CEST\0"), (ASCII, b"+99:99\0"), (ASCII, b"+24:00\0")])
def test_offsets_that_cannot_be_read_are_passed_over(value: tuple[int, bytes]) -> None:
    taken_then: Tags = {DETAILS.DateTimeOriginal: (ASCII, b"2026:05:01 12:30:00\0")}
    assert shown({}, taken_then | {DETAILS.OffsetTimeOriginal: value}) == shown()
    no_clock: Tags = {GPS.GPSTimeStamp: (ASCII, b"")}
    assert shown(no_clock, taken_then | {DETAILS.OffsetTimeOriginal: value}).time == "2026-05-01T12:30:00"


@given(
    tag=st.sampled_from([*GOOD, DETAILS.DateTimeOriginal, DETAILS.OffsetTimeOriginal]),
    kind=st.sampled_from(sorted(SIZES)),
    content=st.binary(max_size=32),
)
def test_no_value_of_any_type_stops_a_picture(tag: int, kind: int, content: bytes) -> None:
    value = (kind, content[: len(content) // SIZES[kind] * SIZES[kind]])
    found = shown({tag: value}, {tag: value})
    assert found.latitude is None or found.doubt == ""
    assert found.heading is None or 0 <= found.heading < 360
    assert not found.time or datetime.fromisoformat(found.time)
