"""JPEG files without an end marker (EOI), which may or may not also lack pixels.

Pillow refuses some whose pixels are complete, and accepts others in which zeros replace pixels, as interrupted copies
leave them; libjpeg's warnings, which simplejpeg passes on, tell them apart.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

_START, _END = b"\xff\xd8", b"\xff\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # in pixel data 00 and the restart markers D0..D7 mark nothing
_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # Huffman-coded; for arithmetic coding libjpeg does not report missing data
_COEFFICIENTS = 64


def with_end_marker(file: BinaryIO) -> BinaryIO:
    """The file itself, or a copy in memory with an end marker if only that was missing.

    Args:
        file: an open JPEG file; its position is left as it was.

    Raises:
        OSError: pixels are missing.
    """
    if _ends_with_marker(file):
        return file
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    scans = _read_scans(data)
    if scans.ended:  # what lies behind it is no part of the picture
        return file
    if not scans.complete:
        raise OSError("its last scans are missing")
    for ending in _without_padding(data):
        if _is_undamaged(ending + _END):
            return io.BytesIO(ending + _END)
    raise OSError("its data ends before the image does")


def _ends_with_marker(file: BinaryIO) -> bool:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - len(_END)))
    end = file.read()
    file.seek(position)
    return end == _END


def _without_padding(data: bytes) -> Iterable[bytes]:
    """The data, and the data without trailing zeros, of which one may belong to a stored byte FF."""
    bare = data.rstrip(b"\0")
    return dict.fromkeys((data, bare, bare + b"\0" if bare.endswith(b"\xff") else bare))


def _is_undamaged(whole: bytes) -> bool:
    """Whether libjpeg decodes it without warnings."""
    import simplejpeg  # here, because hardly any picture needs it

    try:
        # Grey and at an eighth of the size: all data are read, but little is computed.
        simplejpeg.decode_jpeg(whole, "GRAY", min_factor=8, strict=True)
    except ValueError:
        return False
    return True


class _Scans(NamedTuple):
    """Completeness of a JPEG file's scans, by its markers."""

    ended: bool
    """There is an end marker behind the first picture."""
    complete: bool
    """Every coefficient of every component is sent to its last bit: a progressive file cut between two scans lacks
    some, without a warning of libjpeg."""


def _read_scans(data: bytes) -> _Scans:
    unsent_bits: dict[int, list[int]] = {}  # per component
    position = len(_START)
    try:
        while marker := _MARKER.search(data, position):
            code, position = marker[1][0], marker.end()
            if code == _END[1]:
                return _Scans(True, True)
            length = int.from_bytes(data[position : position + 2])
            body = data[position + 2 : position + length]
            if code in _FRAMES:
                unsent_bits = {body[6 + 3 * i]: [1] * _COEFFICIENTS for i in range(body[5])}
            elif code == _SCAN:
                first, last, bits = body[1 + 2 * body[0] :]
                for component in body[1 : 1 + 2 * body[0] : 2]:
                    unsent_bits[component][first : last + 1] = [bits & 15] * (last + 1 - first)
            position += length
    except (IndexError, KeyError, ValueError):  # cut within a header, or not Huffman-coded
        return _Scans(False, False)
    return _Scans(False, bool(unsent_bits) and not any(map(any, unsent_bits.values())))
