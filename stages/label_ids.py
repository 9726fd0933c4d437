"""Class ids of PNGs that people have made: ids in grey or as indices, or colours of the label set.

Editors keep the colours of an indexed picture and put its palette in another order, so indices count only where their
colours are not those of the classes. Black is unlabelled, and so is what is erased (alpha 0).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.arrays import BoolArray, ImageArray, LabelArray
from pipeline.class_tables import colour_table, merge_table
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import InputError, counted
from pipeline.panorama.labels import grey_step
from stages.label_files import read_notes

_INDICES = np.arange(256, dtype=np.uint8)


def read_ids(path: Path, labels: LabelSet) -> LabelArray:
    """Class ids of a PNG: grey or indexed ids, or colours of the label set (black is IGNORE).

    Raises:
        InputError: it cannot be read, or has ids or colours of no class.
    """
    notes = read_notes(path)
    names = tuple(notes.get("classes") or labels.names)
    if names != labels.names:
        raise InputError(f"{path.name} has the classes {', '.join(names)}", f"the run has {', '.join(labels.names)}",
                         "Import it again for this run")  # fmt: skip
    try:
        with Image.open(path) as picture:
            is_png, mode = picture.format == "PNG", picture.mode
            picture.apply_transparency()
            palette_N4 = np.array(picture.getpalette("RGBA") or (), np.uint8).reshape(-1, 4)
            values = np.asarray(picture.convert("RGBA") if mode in ("RGB", "RGBA") else picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path.name} is broken or not an image ({error})", "corrections are PNG files",
                         "Save it again") from error  # fmt: skip
    if not is_png or mode not in ("L", "P", "RGB", "RGBA"):
        raise InputError(f"{path.name} is not an 8-bit PNG", "corrections are 8-bit PNG files of class ids or colours",
                         "Save it as one")  # fmt: skip
    if values.ndim == 3:
        return _ids_of_colours(values, labels, path.name)
    if mode == "P" and "classes" not in notes:  # a stored correction has ids, whatever the colours are now
        return _ids_of_indices(values, palette_N4, labels, path.name)
    return _known_ids(values // grey_step(path), labels, path.name)


def _known_ids(values_hw: LabelArray, labels: LabelSet, name: str) -> LabelArray:
    known = merge_table(labels, labels)
    wrong = [int(value) for value in np.unique(values_hw) if value != IGNORE and known[value] == IGNORE]
    if wrong:
        raise InputError(f"{name} holds the class id {wrong[0]}",
                         f"{labels.name} has the ids 0 to {len(labels) - 1}, and {IGNORE} for unlabelled",
                         "Correct these pixels")  # fmt: skip
    return values_hw


def _ids_of_indices(
    indices_hw: LabelArray, palette_N4: npt.NDArray[np.uint8], labels: LabelSet, name: str
) -> LabelArray:
    """Classes of an indexed picture: by colour where all colours are those of classes or black, else by index."""
    entries = len(palette_N4)
    colours = np.zeros((256, 3), np.uint8)
    colours[:entries] = palette_N4[:, :3]
    erased = np.zeros(256, np.bool_)
    erased[:entries] = palette_N4[:, 3] == 0
    by_colour, known = _classes_of(colours, labels)
    known[entries:] = False
    is_own = (colours == colour_table(labels)).all(axis=1) & ((len(labels) > _INDICES) | (_INDICES == IGNORE))
    by_colour[is_own] = _INDICES[is_own]  # two classes may have one colour
    used = np.unique(indices_hw)
    used = used[~erased[used]]
    if known[used].all() and not _is_grey_ramp(colours[:entries]):
        return np.where(erased, np.uint8(IGNORE), by_colour)[indices_hw]
    moved = [index for index in used if known[index] and by_colour[index] not in (IGNORE, index)]
    if moved and not _is_grey_ramp(colours[:entries]):
        class_name = labels.names[by_colour[moved[0]]]
        unknown = _hexadecimal(colours[used[~known[used]][0]])
        raise InputError(f"{name} has the colour of {class_name} at the index {moved[0]}, and the colour {unknown} of "
                         "no class",
                         "colours or indices must be exactly those of the label set, without smoothing",
                         "Draw with a hard brush, or save class ids")  # fmt: skip
    return _known_ids(np.where(erased[indices_hw], np.uint8(IGNORE), indices_hw), labels, name)


def _is_grey_ramp(colours_N3: npt.NDArray[np.uint8]) -> bool:
    """Whether a palette shows every index as that grey, as of a picture that has no colours."""
    return len(colours_N3) > 1 and bool((colours_N3 == _INDICES[: len(colours_N3), None]).all())


def _ids_of_colours(colours_hw4: ImageArray, labels: LabelSet, name: str) -> LabelArray:
    ids_hw, known_hw = _classes_of(colours_hw4, labels)
    erased_hw = colours_hw4[..., 3] == 0
    ids_hw[erased_hw] = IGNORE
    known_hw |= erased_hw
    if not known_hw.all():
        colour = _hexadecimal(colours_hw4[~known_hw][0])
        raise InputError(f"{name} has {counted(int((~known_hw).sum()), 'pixel')} whose colour is not that of a "
                         f"class, such as {colour}",
                         "colours must be exactly those of the label set, without smoothing",
                         "Draw with a hard brush, or save class ids")  # fmt: skip
    return ids_hw


def _classes_of(colours: npt.NDArray[np.uint8], labels: LabelSet) -> tuple[LabelArray, BoolArray]:
    """Classes of colours [..., 3 or 4], IGNORE for black and unknown ones; and which are known."""
    codes = colours[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    ids, known = np.full(codes.shape, IGNORE, np.uint8), codes == 0
    for class_id, (red, green, blue) in enumerate(labels.palette):
        mine = codes == (red << 16 | green << 8 | blue)
        ids[mine] = class_id
        known |= mine
    return ids, known


def _hexadecimal(colour: npt.NDArray[np.uint8]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour[:3].tolist())
