"""Opening a panorama as an array of the working size.

Legend: H W panorama (working size), 3 = (red, green, blue).
"""

from __future__ import annotations

import hashlib
import math
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import InputError
from pipeline.panorama.capture import Capture, capture_of
from pipeline.panorama.colour_profile import to_srgb
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.deep_tiff import deep_tiff_size, eight_bit, needs_tifffile, read_deep_tiff
from pipeline.panorama.formats import HEIC_REMEDY, heic_is_readable, is_heic, read_formats
from pipeline.panorama.gpano import placement_from_tags, tilt_from_tags
from pipeline.panorama.jpeg_end import with_end_marker
from pipeline.panorama.placement import Placement
from pipeline.panorama.unstitched import require_stitched

MAXIMUM_PIXELS = 400_000_000
"""Larger images are refused undecoded: at three bytes a pixel they would take gigabytes."""
MINIMUM_WIDTH = 32
"""Narrower images are refused: that is the smallest working width, and folders also hold icons."""
ASPECT_TOLERANCE = 0.02
"""Relative deviation from width / height = 360 / vertical_fov that is taken for rounding."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, zlib.error)
"""What Pillow and pillow-heif raise on damaged files, by format."""
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_PNG_SIGNATURE_BYTES, _PNG_XMP = 8, b"XML:com.adobe.xmp"
_BILINEAR_SUPPORT = 1
_FOV_REMEDY = "Set panorama.vertical_fov = {0} (`predict`: --vertical-fov {0}) for {1}"

# Pillow would warn in its own words above its limit and refuse at twice that; `_decode` refuses, undecoded, in ours.
Image.MAX_IMAGE_PIXELS = None
# Editors write megabytes of history and colour profiles into PNGs, beyond which Pillow would not read the pixels.
PngImagePlugin.MAX_TEXT_CHUNK = 64 * 2**20
PngImagePlugin.MAX_TEXT_MEMORY = 256 * 2**20
# Pillow also warns of damaged files, naming a line of its own source; the error that it raises is enough. Filtered for
# the whole process, not only while a file is open: `catch_warnings` is not safe among threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class OpenedPanorama:
    """A panorama at the working size."""

    image_HW3: npt.NDArray[np.uint8]
    """sRGB, upright; transparent pixels are black."""
    transparent_HW: npt.NDArray[np.bool_]
    """Pixels where nothing was seen: more than half transparent, or beside a picture of a part of the sphere."""
    source_height: int
    """Height of the upright file, pixels."""
    source_width: int
    """Width of the upright file, pixels."""
    sha256: str
    """SHA-256 of the file's bytes, hexadecimal."""
    placement: Placement
    """Where the picture lies on the canvas of `image_HW3`."""
    notes: tuple[str, ...] = ()
    """Notes for the user, a sentence each; equal for all files that they apply to."""
    capture: Capture = field(default_factory=Capture)
    """Where and when it was taken, by its tags."""


@dataclass(frozen=True)
class Picture:
    """An image file, decoded and upright, in whatever mode it has."""

    image: Image.Image
    """Pixels; JPEG may be decoded at a reduced size, at least twice the wanted one."""
    width: int
    """Width of the upright file, pixels."""
    height: int
    """Height of the upright file, pixels."""
    format: str
    """Pillow's name of the format ("JPEG", "PNG", ...)."""
    sha256: str
    """SHA-256 of the file's bytes, hexadecimal."""


def open_panorama(path: Path, config: PanoramaConfig) -> OpenedPanorama:
    """Read a panorama, make it upright 8-bit sRGB and resize it to the working size, over the seam.

    A picture of a part of the sphere, by its GPano tags, is placed there; the rest of the image is black. The image of
    a tilted camera stays tilted: `level.level_image` levels it.

    Transparency is composited over black: that is what stitchers write where no camera looked, and what
    `ignore.constant_border` recognises.

    Raises:
        InputError: the file cannot be read or decoded, is too large or too small, has not the aspect ratio of `config`,
            its GPano tags are refused (see `gpano.placement_from_tags`), or it shows that it was never stitched.
    """
    wanted = (config.width, config.height)

    def check_size(width: int, height: int) -> None:
        require_aspect(path, width, height, config)
        _require_some_width(path, width, height)

    picture = read_picture(path, check_size, wanted, defer_check_to_tags=True)
    _require_some_width(path, picture.width, picture.height)
    xmp = picture.image.info.get("xmp", b"")
    placement = placement_from_tags(xmp, path.name, picture.width, picture.height, config)
    if placement is None:
        require_aspect(path, picture.width, picture.height, config)
        placement = Placement.whole(picture.height, picture.width)
    pitch, roll = tilt_from_tags(xmp, config)
    placement = replace(placement, pitch=pitch, roll=roll, vertical_fov=config.vertical_fov)
    colour, alpha, notes = _srgb_and_alpha(picture.image, path)
    require_stitched(colour, path.name, picture.width, picture.height)
    image_HW3 = np.array(_on_canvas(colour, placement, *wanted))
    transparent_HW = np.zeros(image_HW3.shape[:2], np.bool_)
    if alpha is not None or not placement.is_whole:
        alpha = Image.new("L", colour.size, 255) if alpha is None else alpha
        transparent_HW = np.asarray(_on_canvas(alpha, placement, *wanted)) < 128
    return OpenedPanorama(image_HW3, transparent_HW, picture.height, picture.width, picture.sha256, placement, notes,
                          capture_of(picture.image))  # fmt: skip


def open_full_size(path: Path) -> tuple[npt.NDArray[np.uint8], Picture]:
    """(RGB [h, w, 3] of a picture at its own size, upright, 8-bit sRGB over black; the picture, for its tags).

    Raises:
        InputError: the file cannot be read or decoded.
    """
    picture = read_picture(path, lambda width, height: None)
    return np.array(_srgb_and_alpha(picture.image, path)[0].convert("RGB")), picture


def _require_some_width(path: Path, width: int, height: int) -> None:
    if width < MINIMUM_WIDTH:
        raise InputError(
            f"{path.name} is only {width}x{height}",
            f"a panorama is at least {MINIMUM_WIDTH} pixels wide",
            "Export it at a larger size or take it out of the folder",
        )


def _on_canvas(image: Image.Image, placement: Placement, width: int, height: int) -> Image.Image:
    """A picture resized to its place on a canvas that is 0 elsewhere."""
    rows, columns = placement.box(height, width)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    goes_round = placement.width == placement.canvas_width
    resized = resize_wrapping(image, *size) if goes_round else image.resize(size, Image.Resampling.BILINEAR)
    if size == (width, height):
        return resized
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(resized, (columns.start, rows.start))
    return canvas


def read_picture(
    path: Path,
    check_size: Callable[[int, int], None],
    wanted: tuple[int, int] | None = None,
    *,
    defer_check_to_tags: bool = False,
) -> Picture:
    """Open an image file and decode it, once its size is known to be right.

    Args:
        path: a JPEG, PNG, WebP, AVIF or TIFF file, whatever its suffix; HEIC where pillow-heif is installed.
        check_size: called with the upright (width, height) before anything is decoded; raises InputError.
        wanted: (width, height) that the caller will resize to; lets JPEG be decoded faster, at a reduced size.
        defer_check_to_tags: skip the check if the file has XMP tags, which may explain its size; the caller then
            checks.

    Raises:
        InputError: missing, unreadable, empty, broken, too large or not an image.
    """
    try:
        return _decode(path, check_size, wanted, defer_check_to_tags)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "it must be an image file", "Check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder", "it must be an image file", "Name the file") from None
    except PermissionError:
        raise InputError(
            f"{path.name} cannot be read (permission denied)", "it must be readable", f"Run `chmod u+r {path}`"
        ) from None
    except UnidentifiedImageError:
        raise _not_opened(path) from None
    except _BROKEN as error:
        raise InputError(
            f"{path.name} is broken or truncated ({error})",
            "the whole image must decode",
            "Copy or export it again",
        ) from error


@dataclass(frozen=True)
class PictureHeader:
    """Size and format of an image file, read without decoding it."""

    width: int
    """Width of the upright picture, pixels."""
    height: int
    """Height of the upright picture, pixels."""
    format: str
    """Pillow's name of the format ("JPEG", "PNG", ...)."""


def picture_header(path: Path) -> PictureHeader | None:
    """Size and format of an image file; None where it cannot be opened: `read_picture` says why."""
    try:
        if not path.is_file():  # a pipe would block for ever
            return None
        with path.open("rb") as file:
            if needs_tifffile(file):
                return PictureHeader(*deep_tiff_size(file), "TIFF")
        with Image.open(path, formats=read_formats()) as image:
            width, height = image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size
            return PictureHeader(width, height, image.format or "")
    except _BROKEN:
        return None


def require_aspect(path: Path, width: int, height: int, config: PanoramaConfig) -> None:
    """Refuse a size whose aspect ratio does not fit the vertical field of view.

    Raises:
        InputError: width / height deviates from 360 / vertical_fov by more than 2 %.
    """
    if fits_aspect(width, height, config):
        return
    shape = (
        "a full panorama is 2:1"
        if config.vertical_fov == 180
        else f"a band of {config.vertical_fov:g} degrees is {aspect_ratio(config)}"
    )
    raise InputError(f"{path.name} is {width}x{height}", shape, _aspect_remedy(width, height))


def aspect_ratio(config: PanoramaConfig) -> str:
    """Width to height of panoramas, for messages: "2:1"."""
    return f"{360 / config.vertical_fov:.3g}:1"


def fits_aspect(width: int, height: int, config: PanoramaConfig) -> bool:
    """Whether width / height is 360 / vertical_fov to within 2 %."""
    return abs(width / height * config.vertical_fov / 360 - 1) <= ASPECT_TOLERANCE


def resize_wrapping(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize bilinearly (antialiased), columns wrapping: the filter at the seam sees the other side of it.

    Bilinear, as networks and SAM see their training images: on the world reduced by two the demo's assistant has 59.2 %
    mIoU (58.6 box, 58.1 Lanczos), the student's start 60.4 (60.0, 59.6); on CamVid's frames a Cityscapes network is
    right on 84.4 % of the pixels (85.1, 84.6) (`python -m scripts.measure_resampling`).
    """
    if image.size == (width, height):
        return image
    source_width, source_height = image.size
    scale = max(1.0, source_width / width)
    pad = min(source_width, math.ceil(_BILINEAR_SUPPORT * scale) + 1)
    padded = Image.new(image.mode, (source_width + 2 * pad, source_height))
    padded.paste(image.crop((source_width - pad, 0, source_width, source_height)), (0, 0))
    padded.paste(image, (pad, 0))
    padded.paste(image.crop((0, 0, pad, source_height)), (pad + source_width, 0))
    box = (pad, 0, pad + source_width, source_height)
    return padded.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _decode(
    path: Path, check_size: Callable[[int, int], None], wanted: tuple[int, int] | None, defer_check_to_tags: bool
) -> Picture:
    if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):  # a pipe would block for ever
        raise InputError(f"{path} is a pipe, socket or device", "it must be an image file", "Take it out of the folder")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if file.tell() == 0:
            raise InputError(f"{path.name} is empty (0 bytes)", "it must be an image", "Copy or export it again")
        file.seek(0)

        def check(width: int, height: int, has_xmp: bool) -> None:
            if width * height > MAXIMUM_PIXELS:
                raise InputError(
                    f"{path.name} is {width}x{height}",
                    f"an image has at most {MAXIMUM_PIXELS // 1_000_000} million pixels",
                    "Export it at a smaller size",
                )
            if not (defer_check_to_tags and has_xmp):
                check_size(width, height)

        if needs_tifffile(file):
            upright = read_deep_tiff(file, path.name, check)
            return Picture(upright, *upright.size, "TIFF", sha256)
        file.seek(0)
        with Image.open(file, formats=read_formats()) as image:
            orientation = _orientation(image)
            sideways = orientation in _SIDEWAYS
            width, height = image.size[::-1] if sideways else image.size
            check(width, height, "xmp" in image.info or _has_late_xmp(image, file))
            whole = with_end_marker(file) if image.format in ("JPEG", "MPO") else file
            source = image if whole is file else Image.open(whole, formats=read_formats())
            if wanted is not None and not sideways:
                source.draft(None, (2 * wanted[0], 2 * wanted[1]))  # JPEG's own reduction, then a filtered one
            source.load()
            upright = source if orientation == 1 else ImageOps.exif_transpose(source)
            return Picture(upright, width, height, image.format or "", sha256)


def _has_late_xmp(image: Image.Image, file: BinaryIO) -> bool:
    """Whether a PNG has XMP after its pixels, where Pillow finds it only after decoding them."""
    if image.format != "PNG":
        return False
    position = file.tell()
    file.seek(_PNG_SIGNATURE_BYTES)
    found = False
    while not found and len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        data = file.tell()
        found = kind == b"iTXt" and file.read(len(_PNG_XMP)) == _PNG_XMP
        file.seek(data + length + 4)  # the checksum follows
    file.seek(position)
    return found


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8, found without decoding."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode the pixels to look behind them
        return 1
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _srgb_and_alpha(image: Image.Image, path: Path) -> tuple[Image.Image, Image.Image | None, tuple[str, ...]]:
    """8-bit sRGB composited over black, the alpha channel where there is one, and notes."""
    profile = image.info.get("icc_profile") or b""
    colour, alpha = _colour_and_alpha(_eight_bit(image, path))
    colour, note = to_srgb(colour, profile)
    if alpha is not None:
        colour = Image.composite(colour, Image.new("RGB", colour.size), alpha)
    return colour, alpha, (note,) if note else ()


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture without its alpha channel, and that where there is one."""
    if not image.has_transparency_data:
        return image, None
    if image.mode in ("1", "L", "LA", "La"):  # stays grey: its profile is one of grey
        grey = image.convert("LA")
        return grey.getchannel("L"), grey.getchannel("A")
    colour = image.convert("RGBA")
    return colour.convert("RGB"), colour.getchannel("A")


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale grey of 16 bits or floats to 8 bit; Pillow would clip it. (16-bit colour it scales itself, on decoding.)"""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    if image.mode == "F":
        return Image.fromarray(eight_bit(values, path.name))
    if values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"{path.name} has signed 32-bit pixels from {values.min()} to {values.max()}",
            "panoramas have 8, 16 or unsigned 32 bits per channel",
            "Export it with 8 or 16 bits",
        )
    grey = Image.fromarray(eight_bit(values.astype(np.uint16), path.name))
    if isinstance(transparent := image.info.get("transparency"), int):  # the one value that stands for it
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _aspect_remedy(width: int, height: int) -> str:
    fov = 360 * height / width
    if abs(fov / 180 - 1) <= ASPECT_TOLERANCE:
        return _FOV_REMEDY.format("180", "full panoramas")
    if fov < 180:
        return _FOV_REMEDY.format(
            f"{fov:.1f}", "bands that go all the way round; take it out of the folder if it does not"
        )
    if abs(fov / 360 - 1) <= ASPECT_TOLERANCE:
        return "If it is a top-bottom stereo pair, cut out one half; else take it out of the folder"
    if abs(fov / 720 - 1) <= ASPECT_TOLERANCE:
        return "If it lies on its side, turn it or correct its EXIF orientation; else take it out of the folder"
    return "It is too high for an equirectangular panorama: take it out of the folder"


def _not_opened(path: Path) -> InputError:
    if is_heic(path) and not heic_is_readable():
        return InputError(f"{path.name} is a HEIC image", "HEIC needs the package pillow-heif", HEIC_REMEDY)
    return InputError(
        f"{path.name} cannot be opened as an image",
        "panoramas are JPEG, PNG, WebP, AVIF, TIFF or, with the extra `heic`, HEIC files, whatever their suffix",
        "Export it again or take it out of the folder",
    )
