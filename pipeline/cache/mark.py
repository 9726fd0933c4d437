"""The done mark of a panorama's group, and the name of its folder.

A mark says what the group holds (arrays with their checksums) and what it was made from (provenance). It carries a
checksum of itself, so that a flipped bit in it is noticed too.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
Array = npt.NDArray[Any]

_LONGEST_NAME = 200
"""Bytes of a folder name; file systems allow 255."""
_KEPT, _DIGITS = 150, 32
_SHORTENED = re.compile(rf"[^~/]{{{_KEPT}}}~[0-9a-f]{{{_DIGITS}}}")


@lru_cache(maxsize=100_000)  # a rerun asks for every part
def folder_name(panorama_id: str) -> str:
    """The one folder name of a panorama: percent-encoded UTF-8, dots too ("zarr.json" is an id like others).

    Names that would be too long end in "~" and 32 hex digits of their SHA-256; "~" occurs in no other name. Such a
    name stands for itself: where the mark is lost, the id is too.

    Raises:
        ValueError: an empty id.
    """
    if not panorama_id:
        raise ValueError("a panorama needs an id")
    if _SHORTENED.fullmatch(panorama_id):
        return panorama_id
    name = quote(panorama_id, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if name.startswith("__"):  # reserved by the Zarr specification
        name = "%5F" + name[1:]
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_KEPT]}~{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}"


def id_of_folder(name: str) -> str:
    """The panorama id of a `folder_name`; shortened names come back as they are (their id stands in the mark)."""
    if "~" in name:
        return name
    try:
        return unquote(name, errors="surrogatepass")
    except UnicodeDecodeError:  # a folder that somebody else put there
        return name


@dataclass(frozen=True)
class ArrayRecord:
    """What was stored under one name."""

    dtype: str
    """Numpy's name of the element type, such as uint8."""
    shape: tuple[int, ...]
    """Shape of the array."""
    crc32: int
    """CRC-32 of the values in C order."""
    stored_bytes: int
    """Size of the chunk's file; 0 for an empty array, which has none."""

    @classmethod
    def of(cls, values: Array, stored_bytes: int) -> ArrayRecord:
        """The record of these values."""
        return cls(values.dtype.name, values.shape, zlib.crc32(np.ascontiguousarray(values).data), stored_bytes)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ArrayRecord:
        """The record as it stands in a mark."""
        return cls(record["dtype"], tuple(record["shape"]), record["crc32"], record["stored_bytes"])


@dataclass(frozen=True)
class Mark:
    """A panorama is done if its group carries one."""

    panorama_id: str
    """Id of the panorama, in full."""
    arrays: Mapping[str, ArrayRecord]
    """The arrays of the group."""
    provenance: Mapping[str, JSON]
    """What the arrays were made from: source file, its SHA-256 (`source_sha256`), its size, ..."""

    def to_json(self) -> dict[str, Any]:
        """The mark as an attribute of the group."""
        arrays = {name: asdict(record) for name, record in self.arrays.items()}
        text = json.dumps({"panorama_id": self.panorama_id, "arrays": arrays, "provenance": self.provenance})
        body: dict[str, Any] = json.loads(text)  # tuples and the like become what reading will find
        return body | {"sha256": _digest(body)}

    @classmethod
    def from_json(cls, attribute: Any) -> Mark:
        """The mark that `to_json` wrote.

        Raises:
            ValueError: there is no mark, or not the one that was written.
        """
        if not isinstance(attribute, dict):
            raise ValueError("there is no done mark")
        body = {key: value for key, value in attribute.items() if key != "sha256"}
        if attribute.get("sha256") != _digest(body):
            raise ValueError("the done mark is damaged")
        arrays = {name: ArrayRecord.from_json(record) for name, record in body["arrays"].items()}
        return cls(body["panorama_id"], arrays, body["provenance"])


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, allow_nan=False).encode()).hexdigest()
