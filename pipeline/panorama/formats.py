"""Which image files are read as panoramas. HEIC needs the extra `heic` (pillow-heif): its decoder has a licence of its
own (LGPL), and few panoramas need it."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Endings of files that are read where pillow-heif is installed, in lower case."""
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jpeg_original", ".jpg_original", ".insp", ".mpo",
            ".png", ".webp", ".tif", ".tiff", ".avif", *HEIC_SUFFIXES)  # fmt: skip
"""Endings of panoramas, in lower case; cameras and exiftool write JPEG under several."""
HEIC_REMEDY = "Run `pip install pillow-heif` (GoodSAM's extra `heic`)"
"""What makes HEIC readable, for messages."""

_PLAIN_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")  # JPEG includes MPO, a JPEG with further pictures behind it
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")


def heic_is_readable() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def unread_suffixes() -> Collection[str]:
    """Those of `SUFFIXES` that cannot be read here."""
    return () if heic_is_readable() else HEIC_SUFFIXES


def is_heic(path: Path) -> bool:
    """Whether a file's first bytes say that it is HEIC, whatever it is called; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _HEIC_BRANDS)


@lru_cache(maxsize=1)
def read_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here, for `PIL.Image.open`."""
    if not heic_is_readable():
        return _PLAIN_FORMATS
    from pillow_heif import register_heif_opener

    # Pixels are those of the picture itself: a thumbnail that is stored with it is never taken in its place.
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return (*_PLAIN_FORMATS, "HEIF")
