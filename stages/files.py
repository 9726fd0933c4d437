"""Writing outputs whole or not at all, and naming files by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import CacheError, InputError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8), making its folders; a killed run leaves no half a file under the final name.

    Raises:
        CacheError: the file cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the system says against writing `path` into an error for people.

    Raises:
        CacheError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise CacheError(f"{path} cannot be written ({error.strerror or error})",
                         "a folder with room and write permission",
                         "Free space, or choose another output folder") from error  # fmt: skip


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror})", "a readable file", "Check path and permissions"
        ) from error
