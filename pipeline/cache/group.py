"""A panorama's group as files: the done mark, whether all chunks are there, and how a finished folder gets its name.

Nothing here needs zarr, whose import would cost a rerun that finds everything done a second.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.cache.failures import GONE
from pipeline.cache.mark import JSON, Mark

GROUP = "zarr.json"
"""File of a group's metadata."""
MARK = "done"
"""Attribute of a panorama's group that holds its mark."""
_UNSYNCED = (errno.EINVAL, errno.ENOTSUP)
"""Errors of file systems that cannot sync folders."""


def stored_bytes(folder: Path | str, shape: tuple[int, ...]) -> int:
    """Size of the chunk of an array of this shape; 0 for an empty one, which has none.

    Raises:
        FileNotFoundError: the chunk is lost.
    """
    # Asked 25 times per panorama: os.stat of a text costs a fraction of what a Path does.
    return 0 if 0 in shape else os.stat(f"{folder}/{chunk_file(shape)}").st_size  # noqa: PTH116


def chunk_file(shape: tuple[int, ...]) -> str:
    """Name of the one chunk of an array of this shape."""
    return ".".join("c" + "0" * len(shape))


def read_mark(folder: Path) -> Mark:
    """The done mark of a panorama's group.

    Raises:
        OSError, ValueError: there is none, or it is damaged.
    """
    return Mark.from_json(read_group(folder).get(MARK))


def mark_if_complete(folder: Path) -> Mark | None:
    """The done mark if it is there and every chunk has its size.

    Raises:
        OSError: the file system fails; that says nothing of the panorama.
    """
    with suppress(*GONE, ValueError):
        mark = read_mark(folder)
        if all(stored_bytes(f"{folder}/{name}", a.shape) == a.stored_bytes for name, a in mark.arrays.items()):
            return mark
    return None


def write_group(folder: Path, attributes: Mapping[str, JSON]) -> None:
    """Make `folder` a Zarr group with these attributes (Zarr v3 core specification, "Group metadata")."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    text = json.dumps(document, indent=2, allow_nan=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GROUP).write_text(text)


def read_group(folder: Path) -> dict[str, Any]:
    """The attributes of a group.

    Raises:
        OSError, ValueError: there is none, or it is damaged.
    """
    document = json.loads((folder / GROUP).read_text())
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict) or document.get("node_type") != "group" or document.get("zarr_format") != 3:
        raise ValueError(f"{GROUP} describes no group")
    return attributes


def publish(staged: Path, folder: Path) -> None:
    """Give a finished folder its name, once it is on the disk; if another is there already, that one stays."""
    for path in (*staged.rglob("*"), staged):
        sync(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        staged.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(staged, ignore_errors=True)
    sync(folder.parent)


def sync(path: Path) -> None:
    """Have the system write a file or folder to the disk, so that not even a power cut tears it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise
    finally:
        os.close(handle)
