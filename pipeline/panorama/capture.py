"""Where and when a picture was taken, by its own EXIF and GPano tags.

Position and altitude are EXIF's GPS tags (WGS 84). The heading is GPano's PoseHeadingDegrees, else EXIF's
GPSImgDirection. The time is EXIF's DateTimeOriginal with its offset, else the GPS's own (UTC), else DateTimeOriginal
without an offset, which is the camera's local time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from PIL import ExifTags, Image

from pipeline.panorama.gpano import heading_of

_GPS = ExifTags.GPS
_DATE_TIME = "%Y:%m:%d %H:%M:%S"


@dataclass(frozen=True)
class Capture:
    """Where and when a picture was taken; None, or empty, where nothing is known."""

    latitude: float | None = None
    """Degrees north (WGS 84), -90 to 90; None exactly where `longitude` is."""
    longitude: float | None = None
    """Degrees east (WGS 84), -180 to 180."""
    altitude: float | None = None
    """Metres above the reference of the tags: sea level, or the ellipsoid."""
    heading: float | None = None
    """Compass heading of the picture's middle column, degrees clockwise from north, 0 to below 360."""
    time: str = ""
    """ISO 8601, with an offset where one is known."""
    doubt: str = ""
    """What is wrong with a position that was left out, for messages ("latitude 95.2")."""


def capture_of(image: Image.Image) -> Capture:
    """What the tags of an opened picture say; tags that cannot be read are passed over."""
    try:
        exif = image.getexif()
        gps, details = dict(exif.get_ifd(ExifTags.IFD.GPSInfo)), dict(exif.get_ifd(ExifTags.IFD.Exif))
    except Exception:  # Pillow raises nearly anything for damaged EXIF
        gps, details = dict[int, Any](), dict[int, Any]()
    latitude, longitude, doubt = _position(gps)
    heading = heading_of(image.info.get("xmp", b""))
    if heading is None:
        heading = _number(gps.get(_GPS.GPSImgDirection))
    return Capture(latitude, longitude, _altitude(gps) if latitude is not None else None,
                   None if heading is None else heading % 360 % 360,  # a hair below 0 is 360 at first
                   _time(gps, details), doubt)  # fmt: skip


def position_doubt(latitude: float, longitude: float) -> str:
    """Why a position cannot be right; empty where it can."""
    if not abs(latitude) <= 90:  # also of what is no number
        return f"latitude {latitude:g}"
    if not abs(longitude) <= 180:
        return f"longitude {longitude:g}"
    return "latitude and longitude 0, which stand for a missing fix" if latitude == longitude == 0 else ""


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None, str]:
    """(latitude, longitude, doubt)."""
    if _GPS.GPSLatitude not in gps and _GPS.GPSLongitude not in gps:
        return None, None, ""
    latitude = _degrees(gps.get(_GPS.GPSLatitude), gps.get(_GPS.GPSLatitudeRef), "NS")
    longitude = _degrees(gps.get(_GPS.GPSLongitude), gps.get(_GPS.GPSLongitudeRef), "EW")
    if latitude is None or longitude is None:
        return None, None, "tags that are no pair of degrees with their directions"
    doubt = position_doubt(latitude, longitude)
    return (None, None, doubt) if doubt else (latitude, longitude, "")


def _degrees(parts: object, direction: object, directions: str) -> float | None:
    """Decimal degrees of (degrees, minutes, seconds) and N, S, E or W; None where they are not that."""
    letter, numbers = _text(direction).upper()[:1], _numbers(parts)
    if not numbers or letter not in (*directions,):
        return None
    degrees = sum(number / 60**place for place, number in enumerate(numbers[:3]))
    return -degrees if letter == directions[1] else degrees


def _altitude(gps: Mapping[int, Any]) -> float | None:
    metres, reference = _number(gps.get(_GPS.GPSAltitude)), gps.get(_GPS.GPSAltitudeRef)
    below = (reference[:1] if isinstance(reference, bytes) else reference) in (b"\x01", b"\x03", 1, 3)
    return None if metres is None else -metres if below else metres


def _time(gps: Mapping[int, Any], details: Mapping[int, Any]) -> str:
    taken = _parsed(_text(details.get(ExifTags.Base.DateTimeOriginal)), _DATE_TIME)
    offset = _text(details.get(ExifTags.Base.OffsetTimeOriginal))
    if taken and re.fullmatch(r"[+-]([01]\d|2[0-3]):[0-5]\d", offset):
        return taken.isoformat() + offset
    clock = _numbers(gps.get(_GPS.GPSTimeStamp))
    day = _parsed(_text(gps.get(_GPS.GPSDateStamp)), "%Y:%m:%d")
    if day and len(clock) == 3 and all(0 <= part < end for part, end in zip(clock, (24, 60, 60), strict=True)):
        hour, minute, second = (int(part) for part in clock)
        return day.replace(hour=hour, minute=minute, second=second).isoformat() + "+00:00"
    return taken.isoformat() if taken else ""


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _text(value: object) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return text.strip("\0 ") if isinstance(text, str) else ""


def _number(value: Any) -> float | None:
    """A finite number; None for what is none, such as a fraction over 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if math.isfinite(number) else None


def _numbers(values: object) -> list[float]:
    """Finite numbers of a tag that has several; empty where it is no such tag, or one of them is none."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        return []
    numbers = [_number(value) for value in cast("Sequence[object]", values)]
    return [number for number in numbers if number is not None] if None not in numbers else []
