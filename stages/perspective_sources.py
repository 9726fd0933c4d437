"""Labelled perspective pictures to train an assistant on: found by the layout of their data set, or in plain folders.

| source | pictures | labels | held out |
| --- | --- | --- | --- |
| Cityscapes | `leftImg8bit/train` | `gtFine/train`: labelTrainIds, or else labelIds | `val` |
| CamVid, as SegNet has it | `train` | `trainannot` (12 ids, the last for none) | `val`, `valannot` |
| Stanford2D3D | `area_*/data/rgb` | `area_*/data/semantic` | area 5 (fold 1) |
| Structured3D | `perspective/full/*/rgb_rawlight.png` of a room | `semantic.png` beside | scenes 3000 to 3249 |
| folders | `train/images` | `train/labels` | `val/images`, `val/labels` |
| folders | `images` | `labels` | every tenth picture |

Cityscapes' layout is that of cityscapesScripts, CamVid's that of SegNet's tutorial as WildPASS's `dataset_loader.py`
reads it; the others as in `data_sets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import InputError, counted
from pipeline.panorama.finding import LABEL_FOLDER, require_folder, survey_folder
from pipeline.panorama.label_names import IMAGE_FOLDER, LABEL_IDS_ENDING
from pipeline.panorama.labels import survey_labels

_EACH_HELD_OUT = 10
"""Where a source has no part to hold out: one picture of so many."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and its label file."""

    id: str
    """Path of the picture in its folder, without suffix."""
    image: Path
    """The picture."""
    label: Path
    """Its labels, of the same size."""


@dataclass(frozen=True)
class PerspectiveSource:
    """Labelled pictures, and what their label files hold."""

    name: str
    """Name of the data set, for people."""
    learning: tuple[LabelledPicture, ...]
    """Pictures to learn from."""
    held_out: tuple[LabelledPicture, ...]
    """Pictures to measure on."""
    labels_set: str = ""
    """Classes of the label files; empty where nobody can know."""
    label_set: str = ""
    """Classes that are usually predicted; empty where nobody can know."""
    labels_from_one: bool = False
    """Whether ids of the label files count from 1."""
    labels_index: Path | None = None
    """List of names that colours of the label files refer to."""


def find_source(folder: Path) -> PerspectiveSource:
    """The labelled pictures of a folder, by its layout.

    Raises:
        InputError: it has none of the layouts, or its pictures have no labels.
    """
    require_folder(folder)
    for look in (_cityscapes, _stanford, _structured3d, _camvid, _plain):
        if source := look(folder):
            return source
    raise InputError(
        f"{folder} has none of the known layouts of labelled pictures",
        "it must be the root of Cityscapes, CamVid (train, trainannot), Stanford2D3D or Structured3D, or hold the "
        "folders images and labels, or train and val with images and labels in each",
        "Name such a folder, or arrange the pictures in this way",
    )


def _cityscapes(folder: Path) -> PerspectiveSource | None:
    images, labels = folder / IMAGE_FOLDER, folder / LABEL_FOLDER
    if not (images / "train").is_dir():
        return None
    learning = _pairs(images / "train", labels / "train")
    found = _split("Cityscapes", learning, images / "val", labels / "val", "", "cityscapes19")
    return replace(found, labels_set="cityscapes34" if _has_own_ids(found) else "cityscapes19")


def _has_own_ids(cityscapes: PerspectiveSource) -> bool:
    """Whether label files hold Cityscapes' own ids rather than train ids, by their names.

    Raises:
        InputError: some do and some do not.
    """
    labels = [picture.label for picture in (*cityscapes.learning, *cityscapes.held_out)]
    own = [path for path in labels if path.stem.casefold().endswith(LABEL_IDS_ENDING.casefold())]
    others = sorted(set(labels) - set(own))
    if own and others:
        raise InputError(
            f"the label of one picture is {own[0].name} but that of another {others[0].name}",
            "all pictures must have labels with train ids, or none",
            "Make those of all pictures with cityscapesScripts, or remove all labelTrainIds",
        )
    return bool(own)


def _camvid(folder: Path) -> PerspectiveSource | None:
    if not (folder / "trainannot").is_dir():
        return None
    learning = _pairs(folder / "train", folder / "trainannot")
    return _split("CamVid", learning, folder / "val", folder / "valannot", "camvid12", "camvid11")


def _plain(folder: Path) -> PerspectiveSource | None:
    for root in (folder / "train", folder):
        if (root / "images").is_dir() and (root / "labels").is_dir():
            learning = _pairs(root / "images", root / "labels")
            held_out = folder / "val"
            return _split(folder.name, learning, held_out / "images", held_out / "labels", "", "")
    return None


def _stanford(folder: Path) -> PerspectiveSource | None:
    areas = sorted(path.parent.parent.name for path in folder.glob("area_*/data/rgb"))
    if not areas:
        return None
    index = folder / "assets" / "semantic_labels.json"
    if not index.is_file():
        raise InputError(
            f"{folder} has no assets/semantic_labels.json",
            "the colours of its labels are numbers of that list",
            "Put it there from the data set's repository",
        )
    parts = [[f"{area}/data/rgb/*" for area in areas if area.startswith("area_5") == out] for out in (False, True)]
    learning, held_out = (_pairs(folder, folder, part) if part else () for part in parts)
    learning, held_out = _some_of_each(learning, held_out)
    return PerspectiveSource("Stanford2D3D", learning, held_out, "stanford13", "stanford13", labels_index=index)


def _structured3d(folder: Path) -> PerspectiveSource | None:
    scenes = sorted(path.parent.name for path in folder.glob("scene_*/2D_rendering"))
    if not scenes:
        return None
    picture = "2D_rendering/*/perspective/full/*/rgb_rawlight.png"
    parts = (
        [f"{scene}/{picture}" for scene in scenes if scene < "scene_03000"],
        [f"{scene}/{picture}" for scene in scenes if "scene_03000" <= scene < "scene_03250"],
    )
    learning, held_out = (_pairs(folder, folder, part) if part else () for part in parts)
    learning, held_out = _some_of_each(learning, held_out)
    return PerspectiveSource("Structured3D", learning, held_out, "nyu40", "nyu40", labels_from_one=True)


def _split(
    name: str, learning: tuple[LabelledPicture, ...], images: Path, labels: Path, labels_set: str, label_set: str
) -> PerspectiveSource:
    """A source with its own part to hold out, if there is one."""
    held_out = _pairs(images, labels) if images.is_dir() and labels.is_dir() else ()
    return PerspectiveSource(name, *_some_of_each(learning, held_out), labels_set, label_set)


def _some_of_each(
    learning: tuple[LabelledPicture, ...], held_out: tuple[LabelledPicture, ...]
) -> tuple[tuple[LabelledPicture, ...], tuple[LabelledPicture, ...]]:
    """(pictures to learn from, pictures to measure on): where one is empty, every tenth of the other is measured on."""
    if learning and held_out:
        return learning, held_out
    pictures = learning or held_out
    if len(pictures) < 2:
        raise InputError(
            f"{counted(len(pictures), 'labelled picture')} found",
            "at least one is needed to train on and one to measure on",
            "Add labelled pictures",
        )
    return tuple(p for n, p in enumerate(pictures) if n % _EACH_HELD_OUT), pictures[::_EACH_HELD_OUT]


def _pairs(images: Path, labels: Path, only: Sequence[str] = ()) -> tuple[LabelledPicture, ...]:
    """The pictures of a folder that have a label, sorted.

    Raises:
        InputError: a folder is missing, or no picture has a label.
    """
    files = survey_folder(images, [labels], only).panoramas
    found = survey_labels(labels, files, find_unmatched=False).by_id
    return tuple(LabelledPicture(file.id, file.path, found[file.id]) for file in files if file.id in found)
