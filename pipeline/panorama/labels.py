"""Finding and opening labels of panoramas: single-channel images of class ids, 255 = ignore.

Legend: H W the label's own size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.class_tables import merge_table
from pipeline.classes import IGNORE, LABEL_SETS, LabelSet, can_merge
from pipeline.errors import InputError, counted, first_few
from pipeline.panorama.config import PanoramaConfig
from pipeline.panorama.finding import PanoramaFile, folded_name
from pipeline.panorama.images import ASPECT_TOLERANCE, aspect_ratio, fits_aspect, read_picture
from pipeline.panorama.label_index import decode_colours
from pipeline.panorama.label_names import has_label_name, label_candidates
from pipeline.panorama.level import level_values
from pipeline.panorama.placement import Placement

_MODES = ("L", "P", "1", "I", "I;16", "I;16B")
_FROM_ONE = "data.labels_from_one = true"


@dataclass(frozen=True)
class FoundLabels:
    """What a folder of labels holds for some panoramas."""

    by_id: dict[str, Path]
    """Label file per panorama id, where there is one."""
    unmatched: list[str]
    """Label files that belong to none of the panoramas: paths relative to the folder, sorted."""

    @property
    def note(self) -> str:
        """A sentence on the unmatched label files: their number and the first names; empty if there are none."""
        if not self.unmatched:
            return ""
        return f"{counted(len(self.unmatched), 'label file')} without a panorama: {first_few(self.unmatched)}"


def survey_labels(folder: Path, panoramas: Sequence[PanoramaFile], *, find_unmatched: bool = True) -> FoundLabels:
    """The label file of each panorama that has one, and the label files that belong to none.

    Accepted for the image `place/100_.jpg`: `place/100_labelTrainIds.png`, `place/100_.png`, `place/100.png`, and
    what the data sets of `label_names` have, whether `folder` is the folder of the labels or the root of both. Where
    no file has such a name exactly, one counts that differs in upper and lower case or in how accents are encoded
    (composed or decomposed Unicode, as file systems change it).

    Args:
        folder: where to look.
        panoramas: by their paths in the folder of images.
        find_unmatched: also look for files that belong to none; where all panoramas have a label, a large data set is
            not searched without this.

    Raises:
        InputError: the folder is missing, no panorama has a label, or a match is ambiguous.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "labels are PNG files in a folder", "Check the path")
    found = {p.id: label for p in panoramas if (label := _label_of(p, folder)) is not None}
    if not find_unmatched and len(found) == len(panoramas):
        return FoundLabels(found, [])
    files = _label_files(folder, panoramas)
    found |= _found_by_folded_names([p for p in panoramas if p.id not in found], files, found)
    if panoramas and not found:
        first = panoramas[0]
        raise InputError(
            f"{folder} holds no label of any of the {counted(len(panoramas), 'panorama')}",
            f"the label of {first.path.name} is called {next(label_candidates(first.id)).name} or "
            f"{PurePosixPath(first.id).name}.png, in the same subfolder",
            "Name the folder of the labels, or rename them",
        )
    taken = set(map(_identity, found.values()))
    named = any(has_label_name(path.stem) for path in files.values())  # others are coloured pictures of them
    unmatched = [n for n, p in files.items() if (has_label_name(p.stem) or not named) and _identity(p) not in taken]
    return FoundLabels(found, sorted(unmatched))


def open_labels(
    path: Path,
    label_set: LabelSet,
    config: PanoramaConfig,
    source: LabelSet | None = None,
    *,
    from_one: bool = False,
    found_ids: set[int] | None = None,
    placement: Placement | None = None,
    index_N: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Read a label at its own size, as ids of `label_set`.

    Args:
        path: a PNG of one channel, or with a palette whose indices are class ids.
        label_set: the classes that are measured.
        config: the panoramas' geometry; the label's aspect ratio must fit it.
        source: the classes that the file is labelled with, if others; merged into `label_set`.
        from_one: ids in the file count from 1, id k being class k - 1; 0 is ignored like 255.
        found_ids: if given, the file's ids are added to it, before any conversion.
        placement: where the labelled picture lies on the canvas; the label has the picture's aspect ratio. None for a
            picture that fills the canvas.
        index_N: class id of the file's set per index, of `read_label_index`, for files whose colours are indices.

    Returns:
        labels_HW of the canvas at the label's own scale, class ids or 255, which also surrounds the picture. Labels of
        a tilted camera are levelled (nearest, at their own scale), as are the predictions that they measure.

    Raises:
        InputError: not such a PNG, another aspect ratio, or ids that are no class of the file's set.
        RecipeError: `source` does not merge into `label_set`.
    """
    part = None if placement is None or (placement.is_whole and not placement.is_tilted) else placement
    labels_HW = read_labels(
        path,
        label_set,
        source,
        from_one=from_one,
        found_ids=found_ids,
        index_N=index_N,
        check_size=lambda width, height: _require_aspect(path, width, height, config, part),
    )
    return _in_place(labels_HW, part)


def read_labels(
    path: Path,
    label_set: LabelSet,
    source: LabelSet | None = None,
    *,
    from_one: bool = False,
    found_ids: set[int] | None = None,
    index_N: npt.NDArray[np.uint8] | None = None,
    check_size: Callable[[int, int], None],
    remedy: str = "",
) -> npt.NDArray[np.uint8]:
    """`open_labels` of any picture, at its own size [H, W]: arguments and errors as there. `check_size` is called
    with (width, height) before anything is decoded, and raises InputError. `remedy` says what to do about colours and
    ids of no class where there is no recipe to set."""
    file_set = source or label_set
    table = merge_table(file_set, label_set)
    picture = read_picture(path, check_size)
    if index_N is not None:
        _require_colours(path, picture.image, picture.format)
        return table[decode_colours(np.asarray(picture.image.convert("RGB")), index_N)]
    _require_ids(path, picture.image, picture.format, remedy)
    values_HW = np.asarray(picture.image).astype(np.int64) // grey_step(path)
    values = np.unique(values_HW)
    if found_ids is not None:
        found_ids.update(values.tolist())
    _require_own_colours(path, picture.image, values, file_set, int(from_one))
    _require_classes(path, values, file_set, label_set, int(from_one), remedy)
    if from_one:
        values_HW = np.where((values_HW == 0) | (values_HW == IGNORE), IGNORE, values_HW - 1)
    return table[values_HW]


def _in_place(labels_HW: npt.NDArray[np.uint8], part: Placement | None) -> npt.NDArray[np.uint8]:
    """The labels of a whole, level panorama as they are; others put in their place on the canvas and levelled."""
    return labels_HW if part is None else level_values(part.at_size(*labels_HW.shape).put(labels_HW, IGNORE), part)


def doubt_of_first_id(found_ids: Collection[int], file_set: LabelSet) -> str:
    """A sentence where the ids of all label files together look as if they counted from 1 though they are read as
    counting from 0: 1 is there and 0 is not; else empty."""
    ids = sorted(set(found_ids) - {IGNORE})
    if not ids or ids[0] != 1:
        return ""
    return (f"ids seem to start at 1 (0 never stands for a class: the label files hold {ids[0]} to {ids[-1]}, and "
            f"never 0, {file_set.names[0]}). If so, set {_FROM_ONE}")  # fmt: skip


def _label_of(panorama: PanoramaFile, folder: Path) -> Path | None:
    for candidate in label_candidates(panorama.id):
        path = folder / candidate
        if path.is_file() and not path.samefile(panorama.path):  # labels may lie among the images
            return path
    return None


def _label_files(folder: Path, panoramas: Iterable[PanoramaFile]) -> dict[str, Path]:
    """The PNG files below a folder of labels that are no panorama, by their paths relative to it in posix form."""
    images = {os.path.realpath(panorama.path) for panorama in panoramas}
    paths = (path for path in _files_below(folder) if not path.name.startswith("."))
    return {
        path.relative_to(folder).as_posix(): path
        for path in paths
        if path.suffix.lower() == ".png" and path.is_file() and os.path.realpath(path) not in images
    }


def _files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder, through links of folders, as panoramas are found."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a parent folder would never end
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(root) / name for name in names)


def _found_by_folded_names(
    panoramas: Iterable[PanoramaFile], files: Mapping[str, Path], exact: Mapping[str, Path]
) -> dict[str, Path]:
    """Label file by id for panoramas that have none of exactly their name; files that are another's stay its own.

    Raises:
        InputError: two files for one panorama, or two panoramas for one file.
    """
    taken = set(map(_identity, exact.values()))
    by_name: dict[str, list[str]] = {}
    for name in sorted(name for name, path in files.items() if _identity(path) not in taken):
        by_name.setdefault(folded_name(name), []).append(name)
    owners: dict[str, str] = {}
    for panorama in panoramas:
        candidates = (folded_name(str(candidate)) for candidate in label_candidates(panorama.id))
        names = next((by_name[candidate] for candidate in candidates if candidate in by_name), [])
        if len(names) > 1:
            raise _ambiguous(f"{' and '.join(map(repr, names))} could both be the label of {panorama.id!r}")
        for name in names:
            if name in owners:
                raise _ambiguous(f"{name!r} could be the label of {owners[name]!r} and of {panorama.id!r}")
            owners[name] = panorama.id
    return {panorama_id: files[name] for name, panorama_id in owners.items()}


def _ambiguous(found: str) -> InputError:
    return InputError(found, "names that differ only in case or in the encoding of accents count as one",
                      "Give each label exactly the name of its panorama, or remove one")  # fmt: skip


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode: equal for two spellings of a path that the file system considers equal."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _require_aspect(path: Path, width: int, height: int, config: PanoramaConfig, part: Placement | None) -> None:
    fits = fits_aspect(width, height, config)
    if part is not None:
        fits = abs(width * part.height / (height * part.width) - 1) <= ASPECT_TOLERANCE
    if not fits:
        shape = f"{part.width}x{part.height}" if part is not None else aspect_ratio(config)
        raise InputError(
            f"label {path.name} is {width}x{height}",
            f"a label has the shape of its panorama, {shape} to within {100 * ASPECT_TOLERANCE:g} %",
            "Export the label again, or take it out of the folder",
        )


def _require_ids(path: Path, image: Image.Image, image_format: str, remedy: str) -> None:
    if image_format != "PNG" or image.mode not in _MODES:
        raise InputError(
            f"{path.name} is {image_format} of mode {image.mode}",
            "labels are PNG files of class ids, with one channel or a palette",
            remedy
            or "Convert colours to class ids, or set data.labels_index if they are numbers (as in Stanford2D3D); never "
            "store labels as JPEG",
        )


def _require_colours(path: Path, image: Image.Image, image_format: str) -> None:
    if image_format != "PNG" or image.mode not in ("RGB", "RGBA"):
        raise InputError(
            f"{path.name} is {image_format} of mode {image.mode}",
            "with data.labels_index, labels are RGB PNG files whose colours are numbers of that list",
            "Leave data.labels_index empty for files of class ids",
        )


def grey_step(path: Path) -> int:
    """Factor by which Pillow multiplies grey values: PNGs of 2 or 4 bits are stretched to 0..255, changing the ids."""
    with path.open("rb") as file:
        header = file.read(26)
    bit_depth, colour_type = header[24], header[25]
    return 255 // (2**bit_depth - 1) if colour_type == 0 and bit_depth in (2, 4) else 1


def _require_classes(
    path: Path, values: npt.NDArray[np.int64], file_set: LabelSet, target: LabelSet, first: int, remedy: str
) -> None:
    """Refuse ids of no class; `first` is the id of the first class, and smaller ones from 0 on are ignored."""
    wrong = [int(v) for v in values if v != IGNORE and not 0 <= v < len(file_set) + first]
    if not wrong:
        return
    raise InputError(
        f"{path.name} holds the class ids {first_few(wrong, 8)}",
        f"{file_set.name} has the ids {first} to {len(file_set) - 1 + first}, and {'0 and ' * first}{IGNORE} to ignore",
        remedy or _class_remedy(values, file_set, target, first),
    )


def _require_own_colours(
    path: Path, image: Image.Image, values: npt.NDArray[np.int64], file_set: LabelSet, first: int
) -> None:
    """Refuse indices with the colours of other classes: editors put palettes in another order, and ids with them."""
    palette = image.getpalette("RGB") if image.mode == "P" else None
    if palette is None:
        return
    colours = dict(enumerate(zip(palette[::3], palette[1::3], palette[2::3], strict=True)))
    for value in (int(value) for value in values if first <= value < len(file_set) + first):
        own, shown = file_set.palette[value - first], colours.get(value, (0, 0, 0))
        if shown != own and shown in file_set.palette and any(shown):
            name = file_set.names[file_set.palette.index(shown)]
            raise InputError(
                f"{path.name} has the class id {value}, {file_set.names[value - first]}, in the colour of {name}",
                "its palette is in another order than the classes, as some editors leave it",
                "Save it as grey class ids, or with the palette of the label set",
            )


def _class_remedy(values: npt.NDArray[np.int64], file_set: LabelSet, target: LabelSet, first: int) -> str:
    highest = int(values[values != IGNORE].max())
    fitting = [s.name for s in LABEL_SETS.values() if highest < len(s) + first and can_merge(s, target)]
    if highest == len(file_set) and values.min() >= 0 and not first:
        other = f'. If they have the ids of {fitting[0]}, set data.labels_set = "{fitting[0]}"' if fitting else ""
        return f"The ids seem to start at 1 (0 never stands for a class then). If so, set {_FROM_ONE}{other}"
    if fitting:
        return f'Set data.labels_set = "{fitting[0]}" if these files have its ids; it is merged into {target.name}'
    return f"Convert the labels to ids of {target.name}; files of Cityscapes must be the labelTrainIds ones"
