"""What a picture's own GPano tags (XMP, Google's Photo Sphere metadata) say about its place on the sphere."""

from __future__ import annotations

import re

from pipeline.errors import InputError

_TOLERANCE = 0.02
"""Relative deviation that is taken for rounding."""


def require_full_turn(xmp: bytes | str, name: str, width: int, height: int) -> None:
    """Refuse a picture whose tags say that it is not equirectangular, or does not go all the way round.

    Tags whose crop has not the picture's aspect ratio describe another picture (it was padded since) and are not asked.

    Args:
        xmp: the XMP packet; empty for none.
        name: the file's name, for messages.
        width: width of the upright file, pixels.
        height: height of the upright file, pixels.

    Raises:
        InputError: another projection, or a crop of less than 360 degrees.
    """
    text = xmp if isinstance(xmp, str) else xmp.decode("utf-8", "replace")
    projection = _tag(text, "ProjectionType")
    if projection and projection.lower() != "equirectangular":
        raise InputError(
            f"{name} has the projection {projection!r} by its GPano tags",
            "panoramas are equirectangular",
            "Convert it to equirectangular, or remove its GPano tags if they are wrong",
        )
    crop_width, crop_height, full_width = (
        _pixels(text, key)
        for key in ("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", "FullPanoWidthPixels")
    )
    if not (crop_width and crop_height and full_width):
        return
    describes_it = abs(width * crop_height / (height * crop_width) - 1) <= _TOLERANCE
    if describes_it and crop_width < (1 - _TOLERANCE) * full_width:
        raise InputError(
            f"{name} shows {360 * crop_width / full_width:.0f} of 360 degrees by its GPano tags "
            f"({crop_width} of {full_width} columns)",
            "a panorama goes all the way round",
            "Paste it into a black panorama of its full size, or remove its GPano tags if they are wrong",
        )


def _pixels(text: str, key: str) -> int:
    value = _tag(text, key)
    return int(value) if value.isascii() and value.isdigit() else 0


def _tag(text: str, key: str) -> str:
    """A tag's value, written as an attribute or as an element; empty if it is not there."""
    found = re.search(rf"GPano:{key}(?:\s*=\s*[\"']([^\"'<]*)[\"']|\s*>([^<]*)<)", text)
    return (found[1] or found[2] or "").strip() if found else ""
