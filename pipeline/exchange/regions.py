"""A label map as regions of its classes, and back; run lengths of a mask.

Legend: h w picture, N runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import BoolArray, LabelArray
from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import InputError, first_few

MOST_PIXELS = 2**30


@dataclass(frozen=True)
class LabelledPicture:
    """The labels of one picture in an export of a labelling tool."""

    name: str
    """The picture as the tool calls it: a path or an address."""
    labels_hw: LabelArray
    """Class ids of its pixels, IGNORE where nobody has labelled."""
    sha256: str = ""
    """SHA-256 of the picture's file, where the export has it."""
    size: str = ""
    """original for the picture's own pixels, working for those of the level canvas, where the export says it."""


def class_regions(labels_hw: LabelArray) -> Iterator[tuple[int, BoolArray]]:
    """(class id, its pixels [h, w]) of every class that occurs; unlabelled pixels are in none."""
    for class_id in np.flatnonzero(np.bincount(labels_hw.ravel(), minlength=IGNORE + 1)[:IGNORE]):
        yield int(class_id), labels_hw == class_id


def paint_regions(height: int, width: int, regions: Iterable[tuple[int, BoolArray]]) -> LabelArray:
    """The label map of regions, of which later ones lie on top; IGNORE where there is none."""
    labels_hw = np.full((height, width), IGNORE, np.uint8)
    for class_id, mask_hw in regions:
        labels_hw[mask_hw] = class_id
    return labels_hw


def require_possible_size(height: int, width: int, where: str) -> None:
    """Refuse sizes of a damaged export before masks of them fill the memory.

    Raises:
        InputError: no picture is that large.
    """
    if height * width > MOST_PIXELS:
        raise InputError(f"{where} has labels of {width}x{height} pixels", f"a picture has at most {MOST_PIXELS:,}",
                         "Export the annotations again")  # fmt: skip


def require_upright(degrees: float, what: str, where: str) -> None:
    """Refuse a shape that is turned and is no box: the tools turn none, so nothing says about which point.

    Args:
        degrees: by which it is turned.
        what: "a polygon", for the message.
        where: its picture, for the message.

    Raises:
        InputError: it is turned.
    """
    if degrees:
        raise InputError(f"{where} has {what} that is turned by {degrees:g} degrees", "only boxes can be turned",
                         "Draw it as it lies, or export the annotations again")  # fmt: skip


def class_id_of(name: str, labels: LabelSet, where: str) -> int:
    """The id of a class by its name, exactly or else in upper or lower case.

    Raises:
        InputError: there is no such class.
    """
    if name in labels.names:  # others may differ from it by their case alone
        return labels.names.index(name)
    names = [own.casefold() for own in labels.names]
    if (key := name.strip().casefold()) in names:
        return names.index(key)
    raise InputError(f"{where} has the class {name!r}", f"{labels.name} has {', '.join(labels.names)}",
                     "Rename it in the labelling tool, or remove its regions")  # fmt: skip


def run_lengths(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Lengths of the runs of equal values [n], in order [N]."""
    if not values.size:
        return np.empty(0, np.int64)
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.diff(np.concatenate(([0], changes, [values.size])))


def mask_of_runs(counts: npt.NDArray[np.integer], height: int, width: int, where: str) -> BoolArray:
    """The mask whose runs, row by row, alternate and begin with background.

    Raises:
        InputError: they do not fill the mask.
    """
    total = sum(counts.tolist())  # of Python, as NumPy's wraps
    if counts.size == 0 or counts.min() < 0 or total != height * width:
        found = f"a mask with the run lengths {first_few(counts.tolist())}, which sum to {total} pixels"
        raise InputError(f"{where} has {found}", f"they must sum to those of its box of {width}x{height}",
                         "Export the annotations again")  # fmt: skip
    return np.repeat(np.arange(counts.size) % 2 == 1, counts).reshape(height, width)
