"""Finding the panoramas of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
LABEL_FOLDER = "gtFine"
"""Folder of labels in the layout of Cityscapes and DensePASS; nothing under it is a panorama."""
LABEL_ENDING = "_labelTrainIds"
"""Ending of label files' stems in the same layout."""


@dataclass(frozen=True)
class PanoramaFile:
    """A panorama on disk."""

    id: str
    """Path relative to the folder, without suffix, in posix form ("street/0001")."""
    path: Path
    """Where the file is."""


def find_panoramas(folder: Path) -> list[PanoramaFile]:
    """The JPEG, PNG, WebP and TIFF files of a folder, flat or nested, sorted by id.

    Hidden files and folders are skipped, and so are labels that lie beside the images (`gtFine`, `*_labelTrainIds`).

    Raises:
        InputError: the folder is missing, unreadable, no folder or without images, or two files have one id.
    """
    require_folder(folder)
    files = list(_visible_files(folder))
    paths = [p for p in files if p.suffix.lower() in SUFFIXES and not p.stem.endswith(LABEL_ENDING)]
    if not paths:
        raise InputError(
            f"{folder} holds no images ({len(files)} other files)",
            "panoramas are .jpg, .png, .webp or .tif files, in the folder or in folders below it",
            "Name the folder of the panoramas",
        )
    by_id: dict[str, Path] = {}
    for path in sorted(paths):
        panorama_id = path.relative_to(folder).with_suffix("").as_posix()
        if panorama_id in by_id:
            raise InputError(
                f"{by_id[panorama_id]} and {path} have the same id {panorama_id!r}",
                "each panorama needs a name of its own, suffix apart",
                "Rename or remove one of them",
            )
        by_id[panorama_id] = path
    return [PanoramaFile(i, by_id[i]) for i in sorted(by_id)]


def require_folder(folder: Path) -> None:
    """Refuse a folder of panoramas that is none.

    Raises:
        InputError: it does not exist, or is a file.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist", "it must be a folder of panoramas", "Check the path")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file", "panoramas are read from a folder", f"Name the folder: {folder.parent}")


def _visible_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links, hidden ones and label folders apart."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link back up the tree would otherwise never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != LABEL_FOLDER)
        yield from (Path(root) / name for name in names if not name.startswith("."))


def _refuse_folder(error: OSError) -> None:
    raise InputError(
        f"folder {error.filename} cannot be listed ({error.strerror})",
        "every folder below the panoramas' must be readable",
        "Correct its permissions or move it away",
    ) from error
