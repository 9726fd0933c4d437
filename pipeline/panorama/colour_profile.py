"""Converts pictures with an ICC colour profile to sRGB, the colours that networks were trained on.

Relative colorimetric intent with black-point compensation, as in most programs: colours inside sRGB are kept, others
are clipped, and black stays black, by which borders are detected.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from pipeline.errors import first_line

_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
"""Mode of the pictures that a profile of this colour space describes."""
_UNUSABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError)
"""Errors of Pillow for profiles that it cannot read or convert pictures with."""
_SAME = 2
"""Levels of 255 by which an sRGB profile's colours may differ from sRGB, by rounding."""
_LEVELS = 9
"""Levels per channel at which a profile's colours are compared."""
_MIDDLE = 128


@dataclass(frozen=True)
class _Conversion:
    """How pictures with a profile are converted."""

    mode: str
    """Mode to which they are converted first."""
    transform: ImageCms.ImageCmsTransform | None
    """Conversion to sRGB; None if the profile is sRGB or cannot be used."""
    note: str
    """What the user should know; may be empty."""


def to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """An 8-bit picture without alpha in the colours of sRGB.

    A profile that cannot be used is ignored, with a note.

    Args:
        image: of any 8-bit mode; L, RGB and CMYK may have profiles of their kind, L also one of RGB.
        profile: the ICC profile that it is stored with; empty for none.

    Returns:
        The picture in RGB, and a note on the profile, the same for all pictures with it; empty if there is none or it
        is sRGB.
    """
    plain = image if image.mode in ("L", "RGB", "CMYK") else image.convert("L" if image.mode == "1" else "RGB")
    if not profile or image.mode == "LAB":  # its colours are absolute
        return plain.convert("RGB"), ""
    conversion = _conversion(profile, plain.mode)
    if conversion.transform is None:
        return plain.convert("RGB"), conversion.note
    converted = conversion.transform.apply(plain.convert(conversion.mode))
    return converted, conversion.note


@lru_cache(maxsize=8)
def _conversion(profile: bytes, mode: str) -> _Conversion:
    """Cached by the profile's bytes, as the pictures of a folder mostly share one."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = str(getattr(opened.profile, "xcolor_space", "")).strip()
        wanted = _MODES.get(space, "")
        if wanted != mode and (wanted, mode) != ("RGB", "L"):
            return _ignored(f"it is one of {space} pictures, and they are {mode.replace('L', 'GRAY')}")
        name = ImageCms.getProfileDescription(opened).strip() or "without a name"
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            wanted,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except _UNUSABLE as error:
        return _ignored(f"it cannot be read: {first_line(error)}")
    lattice = _lattice(wanted)
    plain_N3, converted_N3 = (_colours(picture) for picture in (lattice.convert("RGB"), transform.apply(lattice)))
    if converted_N3.max(axis=0).min() < _MIDDLE or converted_N3.min(axis=0).max() >= _MIDDLE:
        return _ignored("it makes white dark or black light")
    if wanted != "CMYK" and np.abs(plain_N3 - converted_N3).max() <= _SAME:
        return _Conversion(wanted, None, "")
    return _Conversion(wanted, transform, f"pictures with the colour profile {name!r} are converted to sRGB")


def _ignored(why: str) -> _Conversion:
    note = f"pictures with a colour profile that cannot be used are treated as sRGB: {why}"
    return _Conversion("", None, note)


def _lattice(mode: str) -> Image.Image:
    """A picture with all combinations of `_LEVELS` levels per channel, from 0 to 255."""
    levels = np.linspace(0, 255, _LEVELS).round().astype(np.uint8)
    channels = np.meshgrid(*[levels] * len(Image.new(mode, (1, 1)).getbands()), indexing="ij")
    return Image.merge(mode, [Image.fromarray(channel.reshape(1, -1)) for channel in channels])


def _colours(image: Image.Image) -> npt.NDArray[np.int16]:
    """The pixels of an RGB picture, shape [pixels, 3]."""
    return np.asarray(image).reshape(-1, 3).astype(np.int16)
