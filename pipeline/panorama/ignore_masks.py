"""Matches ignore masks to panoramas where a folder holds one mask per camera.

A mask belongs to the panorama of its name, else to the panoramas below a folder of its name (the nearest first), else,
if its name matches neither, to the panoramas of exactly its size. Names are compared as in `labels`: case and the
encoding of accents do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError, counted, first_few
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile, folded_name, visible_files
from pipeline.panorama.formats import SUFFIXES
from pipeline.panorama.ignore import has_aspect, load_ignore_mask, require_ignore_mask
from pipeline.panorama.images import PictureHeader, picture_header

MASK_ENDING = "_mask"
"""What the name of a panorama's or folder's mask may end with."""

_SHOWN_SHARES = 5
_BY_NAME, _BY_FOLDER, _BY_SIZE = "by their name", "by their folder", "by their size"


@dataclass(frozen=True)
class IgnoreMasks:
    """The mask of each panorama."""

    for_all: Path | None = None
    """The one mask of every panorama, where the setting names a file."""
    by_path: Mapping[Path, Path] = field(default_factory=dict[Path, Path])
    """Mask file by the panorama's file, where the setting names a folder; panoramas without a mask are not in it."""
    notes: Sequence[str] = ()
    """What the user should know, a sentence each."""

    def of(self, panorama: Path) -> Path | None:
        """The mask of a panorama's file; None where it has none."""
        return self.for_all or self.by_path.get(panorama)


def choose_ignore_masks(
    config: PanoramaConfig, panoramas: Sequence[PanoramaFile], others: Sequence[PanoramaFile] = ()
) -> IgnoreMasks:
    """The mask of each panorama, after a check that all masks can be used.

    Args:
        config: names a mask, a folder of masks, or none.
        panoramas: those that get a mask.
        others: panoramas that are not processed now; a mask with their name is not matched to others by size.

    Raises:
        InputError: the mask is unusable; or the folder holds none, none for any panorama, one that cannot be used, or
            two that match a panorama equally well.
    """
    folder = Path(config.ignore_mask)
    if not config.ignore_mask:
        return IgnoreMasks()
    if not folder.is_dir():
        return IgnoreMasks(for_all=folder, notes=[require_ignore_mask(config)])
    masks = _Folder.open(folder, [*panoramas, *others])
    named = {panorama.path: masks.named(panorama) for panorama in (*panoramas, *others)}
    _require_one_owner(named, masks, [*panoramas, *others])
    taken = {mask for mask, _ in filter(None, named.values())}
    sizes = masks.sizes([mask for mask in masks.by_name.values() if mask not in taken], config)
    chosen = {path: found or _of_size(path, sizes) for path, found in named.items()}
    masks.require_some(chosen)
    _require_usable(chosen, config)
    now = {panorama.path: found for panorama in panoramas if (found := chosen[panorama.path]) is not None}
    used = {mask for mask, _ in filter(None, chosen.values())}
    notes = [_counts(folder, [how for _, how in now.values()], len(panoramas)), *_shares(now, config),
             *masks.notes_without(used)]  # fmt: skip
    return IgnoreMasks(by_path={path: mask for path, (mask, _) in now.items()}, notes=notes)


@dataclass(frozen=True)
class _Folder:
    """A folder of masks."""

    path: Path
    by_name: Mapping[str, Path]
    """Picture files by their path in the folder, without ending."""
    no_pictures: Sequence[str]
    """Other files in it."""
    by_folded: Mapping[str, Sequence[str]]
    """Names by their folded form (`folded_name`)."""

    @classmethod
    def open(cls, folder: Path, panoramas: Sequence[PanoramaFile]) -> _Folder:
        """List its masks.

        Raises:
            InputError: it holds no picture, the panoramas themselves, or two pictures of one name.
        """
        real = folder.resolve()
        if any(root.resolve().is_relative_to(real) for root in {_root(panorama) for panorama in panoramas}):
            raise InputError(f"panorama.ignore_mask names {folder}, which holds panoramas",
                             "masks belong in a separate folder",
                             "Move the masks to another folder, and name it")  # fmt: skip
        by_name: dict[str, Path] = {}
        no_pictures: list[str] = []
        for path in sorted(visible_files(folder)):
            name = path.relative_to(folder)
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                no_pictures.append(name.as_posix())
                continue
            stem = name.with_suffix("").as_posix()
            if stem in by_name:
                raise InputError(f"{by_name[stem].name} and {name} in {folder} have the same name",
                                 "each mask needs a unique name, not counting the suffix",
                                 "Remove one of them")  # fmt: skip
            by_name[stem] = path
        if not by_name:
            raise InputError(f"panorama.ignore_mask names {folder}, which holds no images",
                             "it must be a mask or a folder of masks",
                             "Put PNG masks in it, or leave the setting empty")  # fmt: skip
        by_folded: dict[str, list[str]] = {}
        for name in by_name:
            by_folded.setdefault(folded_name(name), []).append(name)
        return cls(folder, by_name, no_pictures, by_folded)

    def named(self, panorama: PanoramaFile) -> tuple[Path, str] | None:
        """The mask with the name of a panorama or of a folder that holds it, and how it matched.

        Raises:
            InputError: two masks differ from that name only in case or accents.
        """
        for name, how in _names(panorama):
            fitting = [
                fit for ending in ("", MASK_ENDING) for fit in self.by_folded.get(folded_name(name + ending), ())
            ]
            exact = [fit for fit in fitting if fit == name]
            if len(exact or fitting) > 1:
                files = " and ".join(self.by_name[fit].name for fit in fitting)
                raise InputError(f"{files} in {self.path} could both be the mask of {panorama.id!r}",
                                 "names that differ only in case or in the encoding of accents count as one",
                                 "Give one of them exactly that name, or remove one")  # fmt: skip
            if fitting:
                return self.by_name[(exact or fitting)[0]], how
        return None

    def sizes(self, masks: Sequence[Path], config: PanoramaConfig) -> Mapping[tuple[int, int], Sequence[Path]]:
        """Those masks that have the shape of panoramas, by (width, height).

        Raises:
            InputError: one of them is no picture.
        """
        found: dict[tuple[int, int], list[Path]] = {}
        for mask in masks:
            header = _header(mask)
            if has_aspect(header.width, header.height, config.width, config.height):
                found.setdefault((header.width, header.height), []).append(mask)
        return found

    def require_some(self, chosen: Mapping[Path, tuple[Path, str] | None]) -> None:
        """Raises InputError if no mask matches a panorama: the setting would have no effect."""
        if not any(chosen.values()):
            raise InputError(f"none of the {len(self.by_name)} masks in {self.path} belongs to a panorama",
                             "a mask has the name of the panorama or of a folder that holds it, or else its exact size",
                             "Rename the masks, or name another folder")  # fmt: skip

    def notes_without(self, used: set[Path]) -> list[str]:
        """Sentences about masks without a panorama and files that are no masks."""
        unused = [path.relative_to(self.path).as_posix() for path in self.by_name.values() if path not in used]
        notes: list[str] = []
        if unused:
            notes.append(f"{counted(len(unused), 'ignore mask')} without a panorama: {first_few(unused)}")
        if self.no_pictures:
            notes.append(f"{self.path} also holds files that are not images: {first_few(self.no_pictures)}")
        return notes


def _root(panorama: PanoramaFile) -> Path:
    """The folder that the panorama's id starts from."""
    return panorama.path.absolute().parents[panorama.id.count("/")]


def _names(panorama: PanoramaFile) -> Iterator[tuple[str, str]]:
    """Possible names of a panorama's mask, the most specific first, each with the kind of match."""
    in_folder = PurePosixPath(panorama.id)
    yield panorama.id, _BY_NAME
    yield in_folder.name, _BY_NAME
    for folder in in_folder.parents:
        if folder.name:
            yield folder.as_posix(), _BY_FOLDER
            yield folder.name, _BY_FOLDER
    if name := _root(panorama).name:
        yield name, _BY_FOLDER


def _require_one_owner(
    named: Mapping[Path, tuple[Path, str] | None], masks: _Folder, panoramas: Sequence[PanoramaFile]
) -> None:
    """Refuse a mask whose name matches panoramas in several folders: each camera numbers its pictures from 1.

    Raises:
        InputError: there is one.
    """
    owners: dict[Path, str] = {}
    for panorama in panoramas:
        found = named[panorama.path]
        if found is None or found[1] != _BY_NAME:
            continue
        other = owners.setdefault(found[0], panorama.id)
        if folded_name(other) != folded_name(panorama.id):
            mask = found[0].relative_to(masks.path)
            raise InputError(f"ignore mask {mask} could belong to {other!r} and to {panorama.id!r}",
                             "masks of panoramas with the same name must lie in folders of the same names",
                             f"Move it, for example to {Path(other).parent / mask.name}")  # fmt: skip


def _of_size(panorama: Path, sizes: Mapping[tuple[int, int], Sequence[Path]]) -> tuple[Path, str] | None:
    """The only mask of exactly the panorama's size.

    Raises:
        InputError: there are two.
    """
    if not sizes or (header := picture_header(panorama)) is None:  # errors are reported when it is opened
        return None
    fitting = sizes.get((header.width, header.height), ())
    if len(fitting) > 1:
        raise InputError(f"ignore masks {' and '.join(mask.name for mask in fitting)} both have the size of "
                         f"{panorama.name}, {header.width}x{header.height}",
                         "without a panorama's or folder's name, masks are matched by size alone",
                         "Name the masks after the folders of their cameras, or remove one")  # fmt: skip
    return (fitting[0], _BY_SIZE) if fitting else None


def _require_usable(chosen: Mapping[Path, tuple[Path, str] | None], config: PanoramaConfig) -> None:
    """Check the headers of the used masks, so that their errors are not reported for panoramas.

    Raises:
        InputError: one is no picture, a JPEG, or has not the shape of the panoramas.
    """
    first_of: dict[Path, Path] = {}
    for panorama, found in chosen.items():
        if found is not None:
            first_of.setdefault(found[0], panorama)
    for mask, panorama in first_of.items():
        header = _header(mask)
        if not has_aspect(header.width, header.height, config.width, config.height):
            raise InputError(f"ignore mask {mask.name}, which is that of {panorama.name}, is "
                             f"{header.width}x{header.height}",
                             f"panoramas of this run are {config.width}x{config.height}, and the mask must have their "
                             "aspect ratio", "Paint the mask on a panorama of its camera")  # fmt: skip
        if header.format in ("JPEG", "MPO"):
            load_ignore_mask(mask, config.height, config.width)  # which refuses it


def _header(mask: Path) -> PictureHeader:
    header = picture_header(mask)
    if header is None:
        raise InputError(f"ignore mask {mask} cannot be opened as an image", "masks are PNG files",
                         "Save it again or take it out of the folder")  # fmt: skip
    return header


def _counts(folder: Path, hows: Sequence[str], total: int) -> str:
    count = Counter(hows)
    parts = [f"{count[how]} {how}" for how in (_BY_NAME, _BY_FOLDER, _BY_SIZE)]
    return f"{folder.name}: ignore masks for {len(hows)} of {total} panoramas: {', '.join(parts)}"


def _shares(now: Mapping[Path, tuple[Path, str]], config: PanoramaConfig) -> Iterator[str]:
    """A sentence on the shares that the most used masks ignore, as other programs invert masks."""
    frequent = Counter(mask for mask, _ in now.values()).most_common(_SHOWN_SHARES)
    shares = [
        f"{mask.name} {100 * load_ignore_mask(mask, config.height, config.width).mean():.1f} % of {count}"
        for mask, count in frequent
    ]
    if shares:
        yield f"ignored (where a mask is not black): {', '.join(shares)}"
