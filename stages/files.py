"""Writing files atomically, and identifying files by content."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import uuid
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.cache import failures
from pipeline.errors import CacheError, InputError
from pipeline.panorama.finding import visible_files
from pipeline.panorama.formats import SUFFIXES
from pipeline.settings import file_digest, fingerprint

_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""Errors of the system for unusable names."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file atomically (text as UTF-8), and make its folders: a killed run leaves no partial file under the
    final name, nor do several that write it at the same time.

    Raises:
        CacheError: the file cannot be written.
    """
    partial = path.with_name(f"{uuid.uuid4().hex}.partial")  # short, as names have at most 255 bytes
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Restores file names that are not UTF-8.
            partial.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def write_picture(path: Path, picture: Image.Image, **options: Any) -> None:
    """Write a picture atomically, in the format of the path's ending.

    Args:
        path: ends in .png or .jpg.
        picture: what to write.
        options: of Pillow's `Image.save`.

    Raises:
        CacheError: the file cannot be written.
    """
    buffer = io.BytesIO()
    picture.save(buffer, Image.registered_extensions()[path.suffix], **options)
    write_whole(path, buffer.getvalue())


def writing(path: Path) -> AbstractContextManager[None]:
    """Turn errors of the system on writing an output into errors for people (CacheError)."""
    return failures.writing(path, "choose another output folder")


def require_writable(path: Path) -> None:
    """Refuse a file that could not be written, before the work whose result it holds; nothing is left behind.

    Raises:
        CacheError: the file, or the folders that it needs, cannot be made, or a folder has its name.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        probe = folder / f"{uuid.uuid4().hex}.partial"
        probe.touch()
        probe.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none, or the file is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


@contextmanager
def named_after_panorama() -> Generator[None]:
    """Turn errors for unusable names into errors of one panorama, unlike those of a disk that cannot be written.

    Raises:
        InputError: the name is too long, or needed for a file and a folder.
    """
    try:
        yield
    except CacheError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NAME_ERRORS:
            raise InputError(error.found, "outputs are named after panoramas: a name may be too long, or needed for "
                             "a file and for a folder (x.jpg beside x.png/y.jpg)", "Rename the panorama"
                             ) from error  # fmt: skip
        raise


def give_usual_permissions(folder: Path) -> None:
    """Give every file below a folder the permissions of the user's new files (umask): safetensors makes files
    that only their owner can read.

    Raises:
        OSError: the system raised an error.
    """
    new = folder / f"{uuid.uuid4().hex}.partial"
    new.touch()
    usual = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(usual)


def put_in_place(new: Path, folder: Path) -> None:
    """Replace `folder`, which is deleted, by the complete folder `new`.

    Raises:
        OSError: the system raised an error.
    """
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def mask_digest(path: str) -> str:
    """`digest` of the ignore mask that a setting names, or of all in a folder of masks; empty where it names none.

    Raises:
        InputError: a file cannot be read.
    """
    if not path:
        return ""
    folder = Path(path)
    if not folder.is_dir():
        return digest(folder)
    masks = sorted(file for file in visible_files(folder) if file.suffix.lower() in SUFFIXES and file.is_file())
    return fingerprint([(file.relative_to(folder).as_posix(), digest(file)) for file in masks])


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})",
            "it must be a readable file",
            "Check the path and its permissions",
        ) from error
