"""Which panorama of a run a labelling tool's picture is, by path or file name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from pipeline.errors import InputError, first_few
from pipeline.exchange.regions import LabelledPicture
from pipeline.panorama.finding import SUFFIXES, folded_name
from stages.export_task import IMAGES, LABELS, RELIABLE
from stages.files import digest
from stages.import_sources import Incoming
from stages.splits import SplitPanorama


class Matcher:
    """Finds the panorama that a labelling tool's picture is."""

    def __init__(self, panoramas: Sequence[SplitPanorama]) -> None:
        """Learn the names.

        Args:
            panoramas: all of the run.
        """
        self._by_name: dict[str, list[SplitPanorama]] = {}
        for panorama in panoramas:
            plain = panorama.id.partition("/")[2]
            for name in dict.fromkeys((panorama.id, plain, PurePosixPath(plain).name)):
                self._by_name.setdefault(folded_name(name), []).append(panorama)
        self._exact = {folded_name(panorama.id): panorama for panorama in panoramas}
        self._splits = {panorama.id.partition("/")[0] for panorama in panoramas}

    def match(self, item: Incoming) -> tuple[SplitPanorama, LabelledPicture]:
        """The panorama and its labels.

        Raises:
            InputError: no panorama has that name, several have, the one that has lies in another folder, or the labels
                are refused.
        """
        if item.picture is None:
            raise item.refused or InputError(f"{item.name} has no labels", "it must have some", "Export it again")
        for path in _paths(item.name):
            for name in _endings(path):
                if name in self._exact:
                    return self._exact[name], item.picture
                found = self._by_name.get(name, [])
                if len(found) > 1 and item.picture.sha256:
                    found = [one for one in found if digest(one.path) == item.picture.sha256] or found
                if len(found) == 1:
                    if not item.picture.sha256:  # else the content tells
                        self._require_folder(item.name, path, found[0])
                    return found[0], item.picture
                if found:
                    ids = first_few([panorama.id for panorama in found])
                    raise InputError(f"{item.name} could belong to {ids}",
                                     "a picture's name must say which panorama it is",
                                     "Give it one of these names")  # fmt: skip
        raise InputError(f"{item.name} is not a panorama of this run", "pictures are matched by path or file name",
                         "Name the run that it was exported from, or correct its name")  # fmt: skip

    def _require_folder(self, name: str, path: PurePosixPath, panorama: SplitPanorama) -> None:
        """Refuse a panorama whose folders are not those of the picture; either may lack the first ones.

        Raises:
            InputError: it lies in another folder.
        """
        split, *own = PurePosixPath(folded_name(panorama.id)).parts[:-1]
        folders = list(path.parts[:-1])
        while folders and folders[0] in (split, LABELS, RELIABLE, IMAGES):
            del folders[0]
        common = min(len(own), len(folders))
        is_of_another_split = bool(folders) and folders[0] in self._splits
        if is_of_another_split or own[len(own) - common :] != folders[len(folders) - common :]:
            raise InputError(f"{name} is not of {panorama.id}, whose folder is another",
                             "a picture's name must say which panorama it is",
                             "Name the run that has it, or put the panorama's folder in front of its name"
                             )  # fmt: skip


def _paths(name: str) -> list[PurePosixPath]:
    """Paths that a picture's name may stand for, without suffix; addresses of before were not quoted."""
    plain = name.replace("\\", "/")
    path = plain.partition("?d=")[2] or plain
    is_address = path != plain or "://" in plain
    texts = dict.fromkeys((unquote(path, errors="surrogateescape"), path)) if is_address else (path,)
    return [_without_suffix(PurePosixPath(folded_name(text))) for text in texts]


def _without_suffix(path: PurePosixPath) -> PurePosixPath:
    path = path.with_suffix("") if path.suffix in (*SUFFIXES, ".png") else path
    return PurePosixPath(*path.parts[1:]) if path.is_absolute() else path


def _endings(path: PurePosixPath) -> list[str]:
    """A path without ever more of its first folders."""
    return [PurePosixPath(*path.parts[start:]).as_posix() for start in range(len(path.parts))]
