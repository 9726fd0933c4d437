"""Finding the panoramas of a folder."""

from __future__ import annotations

import fnmatch
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.errors import InputError, counted, first_few
from pipeline.panorama.formats import HEIC_REMEDY, HEIC_SUFFIXES, SUFFIXES, unread_suffixes

SYSTEM_FOLDERS = ("system volume information", "__macosx", "lost+found")
"""Folders of operating systems, in lower case: thumbnails, deleted files, copies of attributes."""
SYSTEM_MARKS = (".", "@", "#", "$")
"""First characters of hidden folders and of those of network drives (@eaDir, #recycle, $RECYCLE.BIN)."""
LABEL_FOLDER = "gtFine"
"""Folder of labels in the layout of Cityscapes and DensePASS; nothing under it is a panorama."""
CACHE_MARK = "teacher.zarr"
"""Folder that every cache of runs has, with stage one's output; nothing beside it or below is a panorama."""
LABEL_ENDING = "_labelTrainIds"
"""Ending of label files' stems in the same layout."""
COMPANION_ENDINGS = ("_mask", "_masks", "_depth", "_label", "_labels", "_seg", "_normal", "_normals")
"""Endings of stems, in lower case, of files that usually accompany a panorama."""

_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B")


@dataclass(frozen=True)
class PanoramaFile:
    """A panorama on disk."""

    id: str
    """Path relative to the folder, without suffix, in posix form ("street/0001")."""
    path: Path
    """Where the file is."""


@dataclass(frozen=True)
class FolderContents:
    """What a folder of panoramas holds."""

    panoramas: list[PanoramaFile]
    """The panoramas, sorted by id."""
    set_aside: dict[str, str]
    """Why, by path relative to the folder, for each file that looks like a panorama and cannot be one."""
    left_out: dict[str, int]
    """Number of files of other kinds, by their ending in lower case (".mp4"); empty ending for none."""
    doubtful: list[str]
    """Ids of those panoramas that look like masks, depths or labels of others."""

    @property
    def notes(self) -> list[str]:
        """What the user should know, a sentence each: the kinds left out, the most frequent first, and the doubtful."""
        kinds = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        notes = ["left out: " + ", ".join(f"{n} {kind or 'without ending'}" for kind, n in kinds)] if kinds else []
        if heic := _heic_advice(self.left_out):
            notes[0] += f". {heic}"
        if self.doubtful:
            notes.append(f"{len(self.doubtful)} of the {len(self.panoramas)} files taken for panoramas look like "
                         f"masks, depths or labels: {first_few(self.doubtful)}; "
                         "move them to another folder if they are")  # fmt: skip
        return notes


def find_panoramas(folder: Path, others: Collection[Path] = ()) -> list[PanoramaFile]:
    """The panoramas of a folder alone; arguments and errors as of `survey_folder`."""
    return survey_folder(folder, others).panoramas


def survey_folder(folder: Path, others: Collection[Path] = (), only: Sequence[str] = ()) -> FolderContents:
    """The image files of a folder that can be read, flat or nested, and what is no panorama there.

    Hidden files and folders are skipped, and those of operating systems and network drives, caches of runs, and labels
    that lie beside the images (`gtFine`, `*_labelTrainIds`). Files that differ only in their ending are set aside.

    Args:
        folder: where to look.
        others: files and folders that are no panoramas (labels, ignore mask), should they lie inside `folder`.
        only: patterns of paths relative to the folder, in posix form with their ending, as shells have them, `*` also
            standing for several folders: files that match none of them are passed over without a word. Empty for all.

    Raises:
        InputError: the folder is missing, unreadable, no folder or without images, or none matches.
    """
    require_folder(folder)
    apart = {os.path.realpath(other) for other in others} - {os.path.realpath(folder)}
    set_aside: dict[str, str] = {}
    top = len(os.path.join(folder, ""))  # noqa: PTH118 - texts: for 10,000 files, paths would take half a second
    files = list(_visible(folder, apart))
    if only:
        wanted = re.compile("|".join(map(fnmatch.translate, only)))
        files = [file for file in files if wanted.match(_posix(file[top:]))]
        if not files:
            raise InputError(
                f"no file in {folder} matches {' or '.join(map(repr, only))}",
                "patterns are compared with paths below that folder",
                "Correct the patterns or the folder",
            )
    by_id: dict[str, list[Path]] = {}
    left_out: Counter[str] = Counter()
    unread = unread_suffixes()
    for file in sorted(files, key=_parts):
        start, suffix = os.path.splitext(file)  # noqa: PTH122
        if start.endswith(LABEL_ENDING):
            continue
        if suffix.lower() not in SUFFIXES or suffix.lower() in unread:
            left_out[suffix.lower()] += 1
        elif os.path.isfile(file):  # noqa: PTH113
            by_id.setdefault(_posix(start[top:]), []).append(Path(file))
        elif not any(other.startswith(f"{file}{os.sep}") for other in files):
            # Otherwise a folder with a dot in its name; what it holds speaks for itself.
            set_aside[_posix(file[top:])] = _why_no_file(Path(file))
    if not by_id:
        raise InputError(
            f"{folder} holds no images ({counted(len(files), 'other file')})",
            "panoramas are .jpg, .png, .webp, .avif, .tif or .heic files, in the folder or in folders below it",
            _heic_advice(left_out) or "Name the folder of the panoramas",
        )
    for panorama_id, paths in by_id.items():
        for path in paths if len(paths) > 1 else ():
            same = " and ".join(other.name for other in paths if other != path)
            have = "has" if len(paths) == 2 else "have"
            set_aside[path.relative_to(folder).as_posix()] = (
                f"{same} {have} the same id {panorama_id!r}: each panorama needs a unique name, not counting the "
                "suffix. Rename or remove all but one"
            )
    panoramas = [PanoramaFile(i, by_id[i][0]) for i in sorted(by_id) if len(by_id[i]) == 1]
    if not panoramas:
        name, reason = next(iter(set_aside.items()))
        raise InputError(f"{folder} holds no usable images ({name}: {reason})", "at least one must be usable",
                         "Repair, rename or replace the images")  # fmt: skip
    doubtful = [panorama.id for panorama in panoramas if _is_companion(panorama, by_id)]
    return FolderContents(panoramas, set_aside, dict(left_out), doubtful)


def folded_name(name: str) -> str:
    """A file's name as people see it: composed Unicode, without regard to case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def require_folder(folder: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        InputError: it does not exist, or is a file.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist", "it must be a folder of panoramas", "Check the path")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file", "panoramas are read from a folder", f"Name the folder: {folder.parent}")


def visible_files(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links, and folders with the ending of a panorama; hidden ones, system folders,
    caches of runs and label folders are left out.

    Raises:
        InputError: a folder cannot be listed.
    """
    yield from map(Path, _visible(folder, ()))


def _heic_advice(left_out: Mapping[str, int]) -> str:
    """A sentence on how to read HEIC files; empty if none were left out."""
    found = [suffix for suffix in HEIC_SUFFIXES if suffix in left_out]
    return f"{HEIC_REMEDY} to read {' and '.join(found)}" if found else ""


def _visible(folder: Path, apart: Collection[str]) -> Iterator[str]:
    seen: set[str] = set(apart)
    for root, folders, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        real = os.path.realpath(root)
        is_cache = CACHE_MARK in folders and root != str(folder)
        if real in seen or is_cache:  # a link to a parent folder would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not _is_system(f) and f != LABEL_FOLDER)
        root = os.path.join(root, "")  # noqa: PTH118
        paths = [root + name for name in names if not name.startswith(".")]
        yield from (path for path in paths if not apart or os.path.realpath(path) not in apart)
        yield from (root + name for name in folders if name.lower().endswith(SUFFIXES))


def _parts(path: str) -> list[str]:
    return path.split(os.sep)  # noqa: PTH206


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _is_companion(file: PanoramaFile, by_id: Mapping[str, object]) -> bool:
    """Whether a file seems to be a mask, a depth or a label: by its name, or because it is a PNG of one channel or with
    a palette whose name continues that of another image."""
    folder, _, stem = file.id.rpartition("/")
    if stem.lower().endswith(COMPANION_ENDINGS):
        return True
    parts = stem.split("_")
    shorter = ("_".join(parts[:n]) for n in range(1, len(parts)))
    if not any(f"{folder}/{s}".lstrip("/") in by_id for s in shorter) or file.path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(file.path) as picture:
            return picture.mode in _ONE_CHANNEL
    except Exception:  # errors are reported when it is read
        return False


def _is_system(folder_name: str) -> bool:
    return folder_name.startswith(SYSTEM_MARKS) or folder_name.lower() in SYSTEM_FOLDERS


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "it is an empty folder with the name of an image"
    return "it is a broken link" if path.is_symlink() else "it is not a readable file"


def _refuse_folder(error: OSError) -> None:
    raise InputError(
        f"folder {error.filename} cannot be listed ({error.strerror})",
        "all folders inside the folder of panoramas must be readable",
        "Change its permissions or move it away",
    ) from error
