"""TIFF of 16 bits or floats in separate planes, which Pillow decodes to garbage without an error."""

from __future__ import annotations

import logging
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from pipeline.errors import InputError

_KINDS = ("uint16", "float16", "float32", "float64")
_COLOURS = (1, 2)  # black is zero, RGB
_SAMPLES = (1, 3, 4)
_SEPARATE = 2

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # of a damaged file the error says enough


def read_deep_tiff(file: BinaryIO, name: str) -> Image.Image:
    """The first picture of such a TIFF as 8-bit grey, RGB or RGBA, upright, with its colour profile in `info`.

    Args:
        file: the open TIFF, at any position.
        name: the file's name, for messages.

    Raises:
        InputError: another kind of TIFF, a compression that is not known, or floats outside 0..1.
    """
    import tifffile  # here, because hardly any picture needs it

    try:
        file.seek(0)
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            orientation = int(page.tags.valueof(ExifTags.Base.Orientation, default=1))
            if (
                str(page.dtype) not in _KINDS
                or page.photometric not in _COLOURS
                or page.samplesperpixel not in _SAMPLES
            ):
                raise _unknown(name, f"{page.samplesperpixel} channels of the type {page.dtype}")
            values = page.asarray()
            profile = page.tags.valueof(TiffImagePlugin.ICCPROFILE)
            planes_first = page.samplesperpixel > 1 and page.planarconfig == _SEPARATE
    except InputError:
        raise
    except Exception as error:  # tifffile raises whatever the damage leads to
        raise _unknown(name, f"what cannot be decoded ({error})") from error
    image = Image.fromarray(eight_bit(np.moveaxis(values, 0, -1) if planes_first else values, name))
    if profile is not None:
        image.info["icc_profile"] = bytes(profile)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def eight_bit(values: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    """16-bit integers or floats in 0..1, scaled to 0..255.

    Raises:
        InputError: floats outside 0..1.
    """
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    numbers = values.astype(np.float32)
    if not (numbers.min() >= 0 and numbers.max() <= 1):  # not so of NaN either
        raise InputError(
            f"{name} has floating-point pixels from {numbers.min():g} to {numbers.max():g}",
            "floating-point pixels lie in 0 to 1, for what is white is not known otherwise",
            "Export it with 8 or 16 bits",
        )
    return np.rint(numbers * 255).astype(np.uint8)


def _unknown(name: str, what: str) -> InputError:
    return InputError(
        f"{name} is a TIFF with {what}",
        "panoramas have 8 or 16 bits per channel, grey or RGB, or floating-point pixels in 0 to 1",
        "Export it with 8 bits, uncompressed",
    )
