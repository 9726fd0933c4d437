"""Placement and tilt of a picture from its GPano tags (XMP, Google's Photo Sphere metadata)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.placement import Placement
from pipeline.panorama.sphere import FULL_SPHERE_DEGREES

MAXIMUM_CANVAS_PIXELS = 400_000_000
"""Parts of larger panoramas are refused: computing labels takes the memory of the full panorama."""
MIN_TILT = 0.5
"""Degrees of pitch or roll up to which a camera counts as level."""
MINIMUM_COLUMNS = 32
"""Columns of the working size that a part must have: fewer are useless to networks."""

_TOLERANCE = 0.02
"""Relative deviation that is taken for rounding."""
_IF_WRONG = "or remove its GPano tags if they are wrong"


@dataclass(frozen=True)
class _Crop:
    """A part of a full panorama; in pixels of the picture for which the tags were written."""

    width: float
    height: float
    full_width: float
    full_height: float
    left: float | None
    """None if no tag states it, as for `top`."""
    top: float | None


def placement_from_tags(
    xmp: bytes | str, name: str, width: int, height: int, config: PanoramaConfig
) -> Placement | None:
    """Placement of a picture by its tags; None unless they describe a part of a panorama.

    Tags whose crop has another aspect ratio than the picture describe another picture (it was padded since) and are
    ignored; a picture that was resized since is placed at its own scale.

    Args:
        xmp: the XMP packet; empty for none.
        name: the file's name, for messages.
        width: width of the upright file, pixels.
        height: height of the upright file, pixels.
        config: the canvas: vertical field of view and working size.

    Raises:
        InputError: another projection, or a part whose tags are inconsistent, do not say where it lies, or lie
            outside the run's vertical field of view; or the part is too small, or its panorama too large.
    """
    text = _text(xmp)
    projection = _tag(text, "ProjectionType")
    if projection and projection.lower() != "equirectangular":
        raise InputError(
            f"{name} has the projection {projection!r} according to its GPano tags",
            "panoramas are equirectangular",
            f"Convert it to equirectangular, {_IF_WRONG}",
        )
    crop = _crop_of(text)
    if crop is None or abs(width * crop.height / (height * crop.width) - 1) > _TOLERANCE or _is_full(crop):
        return None
    left, top = _corner(crop, name)
    placement = _on_canvas(crop, left, top, name, width, height, config)
    rows, columns = placement.box(config.height, config.width)
    if columns.stop - columns.start < MINIMUM_COLUMNS or rows.stop - rows.start < MINIMUM_COLUMNS // 2:
        raise InputError(
            f"{name} shows only {_degrees(crop)} degrees according to its GPano tags",
            f"a part of a panorama has at least {MINIMUM_COLUMNS} of the {config.width} columns of the working size, "
            f"and {MINIMUM_COLUMNS // 2} rows",
            f"Take it out of the folder, {_IF_WRONG}",
        )
    return placement


def tilt_from_tags(xmp: bytes | str, config: PanoramaConfig) -> tuple[float, float]:
    """(pitch, roll) of the camera by the tags, degrees; zeros where nothing is to be levelled: no tags, at most half
    a degree, or `panorama.level` is off."""
    text = _text(xmp)
    pitch, roll = (_number(text, key) or 0.0 for key in ("PosePitchDegrees", "PoseRollDegrees"))
    possible = abs(pitch) <= 90 and abs(roll) <= 180
    return (
        (pitch, roll) if config.level == "tags" and possible and max(abs(pitch), abs(roll)) > MIN_TILT else (0.0, 0.0)
    )


def heading_of(xmp: bytes | str) -> float | None:
    """Compass heading of the picture's middle by the tags (PoseHeadingDegrees), degrees; None unless they state it."""
    text = _text(xmp)
    return _number(text, "PoseHeadingDegrees")


def _crop_of(text: str) -> _Crop | None:
    """The crop that the tags describe; None if they describe none."""
    width, height, full_width, full_height, left, top = (
        _number(text, key)
        for key in (
            *("CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels", "FullPanoWidthPixels"),
            *("FullPanoHeightPixels", "CroppedAreaLeftPixels", "CroppedAreaTopPixels"),
        )
    )
    if not (width and height and full_width) or min(width, height, full_width) < 0:
        return None
    return _Crop(width, height, full_width, full_height or full_width / 2, left, top)


def _is_full(crop: _Crop) -> bool:
    """Whether it is all of the tags' full panorama, which may be a band."""
    return min(crop.width / crop.full_width, crop.height / crop.full_height) >= 1 - _TOLERANCE


def _corner(crop: _Crop, name: str) -> tuple[float, float]:
    """(left, top) of a part that lies inside a full panorama of 2:1."""
    if abs(crop.full_width / crop.full_height / 2 - 1) > _TOLERANCE:
        raise InputError(
            f"{name} is a part of a panorama of {crop.full_width:g}x{crop.full_height:g} pixels according to its GPano "
            "tags",
            "a full panorama (FullPanoWidthPixels, FullPanoHeightPixels) is 2:1",
            f"Correct these tags, {_IF_WRONG}",
        )
    # A part as wide or as high as the whole can lie in one place only.
    left = 0.0 if crop.left is None and crop.width >= (1 - _TOLERANCE) * crop.full_width else crop.left
    top = 0.0 if crop.top is None and crop.height >= (1 - _TOLERANCE) * crop.full_height else crop.top
    if left is None or top is None:
        raise InputError(
            f"{name} shows {_degrees(crop)} degrees according to its GPano tags, which do not say where they lie",
            "the tags CroppedAreaLeftPixels and CroppedAreaTopPixels must say it",
            f"Add these tags, {_IF_WRONG}",
        )
    for what, first, length, full in (
        ("columns", left, crop.width, crop.full_width),
        ("rows", top, crop.height, crop.full_height),
    ):
        if first < -_TOLERANCE * full or first + length > (1 + _TOLERANCE) * full:
            raise InputError(
                f"{name} has the {what} {first:g} to {first + length:g} of {full:g} according to its GPano tags",
                "a part must lie inside the full panorama",
                f"Correct these tags, {_IF_WRONG}",
            )
    return left, top


def _on_canvas(
    crop: _Crop, left: float, top: float, name: str, width: int, height: int, config: PanoramaConfig
) -> Placement:
    """The placement on the run's canvas, at the picture's own scale."""
    across, down = width / crop.width, height / crop.height
    canvas_width = max(width, round(crop.full_width * across))
    of_sphere = config.vertical_fov / FULL_SPHERE_DEGREES
    canvas_height = max(height, round(crop.full_height * down * of_sphere))
    if canvas_width * canvas_height > MAXIMUM_CANVAS_PIXELS:
        raise InputError(
            f"{name} is a part of a panorama of {canvas_width}x{canvas_height} pixels according to its GPano tags",
            f"a full panorama has at most {MAXIMUM_CANVAS_PIXELS // 1_000_000} million pixels",
            f"Export it at a smaller size, {_IF_WRONG}",
        )
    above = (crop.full_height * down - crop.full_height * down * of_sphere) / 2
    first = top * down - above
    if first < -_TOLERANCE * canvas_height or first + height > (1 + _TOLERANCE) * canvas_height:
        highest, lowest = (90 - 180 * row / crop.full_height for row in (top, top + crop.height))
        raise InputError(
            f"{name} shows {highest:+.0f} to {lowest:+.0f} degrees above the horizon according to its GPano tags",
            f"panoramas of this run show {config.vertical_fov / 2:+g} to {-config.vertical_fov / 2:+g} degrees",
            "Process it in a run with panorama.vertical_fov = 180 (`predict`: --vertical-fov 180)",
        )
    top_row = min(max(round(first), 0), canvas_height - height)
    left_column = min(max(round(left * across), 0), canvas_width - width)
    return Placement(canvas_height, canvas_width, top_row, left_column, height, width)


def _degrees(crop: _Crop) -> str:
    """Width and height in degrees, for messages: "180x90"."""
    return f"{360 * crop.width / crop.full_width:.0f}x{180 * crop.height / crop.full_height:.0f}"


def _text(xmp: bytes | str) -> str:
    return xmp if isinstance(xmp, str) else xmp.decode("utf-8", "replace")


def _number(text: str, key: str) -> float | None:
    value = _tag(text, key)
    return float(value) if re.fullmatch(r"[+-]?[0-9]{1,12}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?", value) else None


def _tag(text: str, key: str) -> str:
    """A tag's value, written as an attribute or as an element; empty if it is not there."""
    found = re.search(rf"GPano:{key}(?:\s*=\s*[\"']([^\"'<]*)[\"']|\s*>([^<]*)<)", text)
    return (found[1] or found[2] or "").strip() if found else ""
