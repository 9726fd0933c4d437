"""TIFF that Pillow cannot open, or decodes to garbage without an error: 16 bits in separate planes, 32 bits, floats,
grey of more than 8 bits with alpha."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from pipeline.errors import InputError, first_line

if TYPE_CHECKING:
    from tifffile import TiffPage

_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = ("uint8", "uint16", "uint32", "float16", "float32", "float64")
_SAMPLES = {1: (1, 2), 2: (3, 4)}  # black is zero, RGB; each without and with one more
_SEPARATE = 2
_UNSIGNED, _SIGNED = 1, 2
_SIDEWAYS = (5, 6, 7, 8)
_PREMULTIPLIED = 1
_ALPHA = ((_PREMULTIPLIED,), (2,), ())
"""Kinds of the sample behind the colours that are alpha; if a file does not specify it, it counts as alpha."""
_INFO = {"icc_profile": TiffImagePlugin.ICCPROFILE, "xmp": 700}

logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # the error of a damaged file is enough


def needs_tifffile(file: BinaryIO) -> bool:
    """Whether a file is a TIFF that Pillow cannot open, or one that it would decode to garbage."""
    file.seek(0)
    if file.read(4) not in _HEADS:
        return False
    file.seek(0)
    try:
        with Image.open(file, formats=("TIFF",)) as image:
            if not isinstance(image, TiffImagePlugin.TiffImageFile):
                return False
            bits = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
            samples = image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
            more = samples in _SAMPLES.get(image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0), ())[1:]
            separate = image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE and samples > 1
            format_ = max(image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (_UNSIGNED,)))
    except UnidentifiedImageError:
        return True
    return (separate and (bits > 8 or more)) or (format_, bits) in ((_UNSIGNED, 32), (_SIGNED, 16))


def read_deep_tiff(file: BinaryIO, name: str, check_size: Callable[[int, int, bool], None]) -> Image.Image:
    """The first picture of a TIFF as 8-bit grey or RGB, each with or without alpha, upright; colour profile and XMP are
    in its `info`.

    Args:
        file: the open TIFF, at any position.
        name: the file's name, for messages.
        check_size: called with the upright width and height, and whether there are tags (XMP), before anything is
            decoded; raises InputError.

    Raises:
        UnidentifiedImageError: it is so damaged that nothing is known of its picture.
        InputError: another kind of TIFF, a compression that is not known, or floats outside 0..1; or by `check_size`.
    """
    page, orientation = _first_page(file)
    check_size(*_upright_size(page, orientation), page.tags.valueof(_INFO["xmp"]) is not None)
    if str(page.dtype) not in _KINDS or page.samplesperpixel not in _SAMPLES.get(page.photometric, ()):
        raise _unknown(name, f"{page.samplesperpixel} channels of the type {page.dtype} ({_photometric(page)})")
    image = _image(eight_bit(_samples(page, name), name), tuple(page.extrasamples))
    for key, tag in _INFO.items():
        if (value := page.tags.valueof(tag)) is not None:
            image.info[key] = value.encode() if isinstance(value, str) else bytes(value)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def deep_tiff_size(file: BinaryIO) -> tuple[int, int]:
    """Upright (width, height) of a TIFF's first picture.

    Raises:
        UnidentifiedImageError: it is so damaged that nothing is known of its picture.
    """
    return _upright_size(*_first_page(file))


def eight_bit(values: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    """Integers of 8, 16 or 32 bits, or floats in 0..1, scaled to 0..255.

    Integers of 32 bits that need no more than 16 are taken for 16-bit ones, as which else they would be black.

    Raises:
        InputError: floats outside 0..1, or NaN.
    """
    if values.dtype == np.uint8:
        return values.astype(np.uint8)
    if values.dtype == np.uint32:
        deep = values.astype(np.uint32)
        values = (deep >> 16 if deep.max() > 65535 else deep).astype(np.uint16)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    numbers = values.astype(np.float32)
    if missing := int(np.isnan(numbers).sum()):
        raise InputError(
            f"{name} has floating-point pixels, of which {missing} are NaN",
            "floating-point pixels lie in 0 to 1",
            "Give these pixels a colour, and export it with 8 or 16 bits",
        )
    if numbers.min() < 0 or numbers.max() > 1:
        raise InputError(
            f"{name} has floating-point pixels from {numbers.min():g} to {numbers.max():g}",
            "floating-point pixels lie in 0 to 1, otherwise the white level is unknown",
            "Export it with 8 or 16 bits",
        )
    return np.rint(numbers * 255).astype(np.uint8)


def _first_page(file: BinaryIO) -> tuple[TiffPage, int]:
    """A TIFF's first picture, not decoded, and its EXIF orientation."""
    import tifffile  # here, because hardly any picture needs it

    try:
        file.seek(0)
        page = tifffile.TiffFile(file).pages.first
        orientation = int(page.tags.valueof(ExifTags.Base.Orientation, default=1))
        if 0 in (page.imagewidth, page.imagelength, page.samplesperpixel):
            raise ValueError("it has no pixels")
    except Exception as error:  # tifffile raises whatever the damage leads to
        raise UnidentifiedImageError(str(error)) from error
    return page, orientation


def _upright_size(page: TiffPage, orientation: int) -> tuple[int, int]:
    width, height = page.imagewidth, page.imagelength
    return (height, width) if orientation in _SIDEWAYS else (width, height)


def _samples(page: TiffPage, name: str) -> npt.NDArray[Any]:
    """Pixels as they are stored, shape [H, W] or [H, W, samples]."""
    try:
        values = page.asarray()
    except Exception as error:  # tifffile raises whatever the damage leads to
        if "imagecodecs" in str(error):
            raise InputError(
                f"{name} is a TIFF whose compression cannot be read ({first_line(error)})",
                "uncompressed, Deflate and PackBits files are read without further packages",
                "Run `pip install imagecodecs`, or export it uncompressed",
            ) from error
        raise _unknown(name, f"pixels that cannot be decoded ({first_line(error)})") from error
    if page.samplesperpixel > 1 and page.planarconfig == _SEPARATE:
        values = np.moveaxis(values, 0, -1)
    if values.shape[:2] != (page.imagelength, page.imagewidth) or values.ndim > 3:
        raise _unknown(name, f"pixels of the shape {values.shape}")
    return values


def _image(values: npt.NDArray[np.uint8], extra: tuple[int, ...]) -> Image.Image:
    """Of [H, W] or [H, W, samples]; the last sample of 2 or 4 is alpha, or nothing that is known."""
    if values.ndim == 2:
        return Image.fromarray(values)
    colours = values.shape[-1] // 2 * 2 - 1
    if values.shape[-1] > colours and extra not in _ALPHA:
        values = values[..., :colours]
    mode = ("", "L", "LA", "RGB", "RGBA")[values.shape[-1]]
    size = (values.shape[1], values.shape[0])
    if mode in ("LA", "RGBA") and extra == (_PREMULTIPLIED,):
        premultiplied = Image.frombytes(f"{mode[:-1]}a", size, values.tobytes())
        return premultiplied.convert(mode)
    return Image.frombytes(mode, size, values.tobytes())


def _photometric(page: TiffPage) -> str:
    return str(getattr(page.photometric, "name", page.photometric)).lower()


def _unknown(name: str, what: str) -> InputError:
    return InputError(
        f"{name} is a TIFF with {what}",
        "panoramas are grey or RGB of 8, 16 or unsigned 32 bits per channel, or of floating-point pixels in 0 to 1",
        "Export it with 8 bits, uncompressed",
    )
