"""A panorama's arrays as Zarr arrays of one chunk each.

By default Zarr does not write chunks that equal the fill value, and reads missing chunks as fill. Here every chunk is
written, and on reading its size, its CRC32C and the CRC-32 of the values must match the done mark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from pipeline.cache.codec import encoding_of
from pipeline.cache.group import stored_bytes
from pipeline.cache.mark import Array, ArrayRecord


def write_array(folder: Path, name: str, values: Array) -> ArrayRecord:
    """Write one array as one chunk.

    Raises:
        ValueError: the name is no identifier, or the element type is not bool, integer or float.
    """
    if not name.isidentifier() or values.dtype.kind not in "biuf":
        raise ValueError(f"array {name!r} of {values.dtype} cannot be stored")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)  # as when it is read: its bytes are checked
    size = values.dtype.itemsize
    zstd = ZstdCodec(level=3) if size == 1 else BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=size)
    array = zarr.create_array(
        store=LocalStore(folder),
        name=name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(max(1, length) for length in values.shape),
        compressors=(zstd, Crc32cCodec()),
        chunk_key_encoding={"name": "default", "separator": "."},
        attributes={"encoding": encoding_of(name, values.dtype)},
        config={"write_empty_chunks": True},
    )
    if values.size:
        array[...] = values
    return ArrayRecord.of(values, stored_bytes(folder / name, values.shape))


def read_array(folder: Path, name: str, record: ArrayRecord) -> Array:
    """Read one array.

    Raises:
        ValueError: it differs from the record; zarr's codecs raise errors of their own.
    """
    array = zarr.open_array(store=LocalStore(folder, read_only=True), path=name, mode="r", zarr_format=3)
    if array.shape != record.shape or array.dtype.name != record.dtype:
        raise ValueError("its shape or type is not as written")
    if stored_bytes(folder / name, record.shape) != record.stored_bytes:
        raise ValueError("its chunk is cut short")
    values = np.asarray(array[...])
    if ArrayRecord.of(values, record.stored_bytes) != record:
        raise ValueError("its checksum is not as written")
    return values
