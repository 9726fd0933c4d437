"""The field's panoramic data sets, recognised by how they lie on the disk once their user has unpacked them.

Where the layouts and splits are known from (files of public repositories):

- DensePASS: Trans4PASS, `adaptations/dataset/densepass_dataset.py` and `densepass_list/`. 2048x400 pixels all the way
  round; that this is 70.3 degrees follows from equal degrees per pixel (360 * 400 / 2048).
- WildPASS: its `segment/dataset.py` and `eval_color_fusion.py`.
- Stanford2D3D: alexsax/2D-3D-Semantics, `README.md`; fold 1 (area 5 held out) as Trans4PASS, `stanford2d3d_pan.py`,
  which also ignores black pixels.
- SynPASS: Trans4PASS, `adaptations/dataset/synpass_list/` and `sp13_dataset.py`.
- Structured3D: bertjiazheng/Structured3D, `README.md` (splits) and `data_organization.md`; the furnished rooms in raw
  light as Trans4PASS's `structured3d_list/`.

The label sets and their sources are in `pipeline.known_classes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from pipeline.classes import IGNORE
from pipeline.errors import InputError
from pipeline.panorama.finding import LABEL_FOLDER, visible_files
from pipeline.panorama.images import read_picture
from pipeline.panorama.label_names import IMAGE_FOLDER, has_label_name

_WEATHERS = ("cloud", "fog", "rain", "sun")
_WILDPASS_IDS = {4, 5, 8, 11, 12, 13, 17, 24, 25, IGNORE}
_LABEL_NAMES = ("assets/semantic_labels.json", "semantic_labels.json")
"""Where Stanford2D3D's list of names may lie."""
_SAMPLE = 8
"""Label files that are read to tell WildPASS from DensePASS with plain names."""


@dataclass(frozen=True)
class DataSet:
    """Where a data set's panoramas and labels lie, and what its recipe must say of them."""

    name: str
    """Its name."""
    about: str
    """What its user should know, for a comment."""
    label_set: str
    """Classes that are measured."""
    panoramas: Path
    """Folder of panoramas to learn from."""
    panoramas_only: tuple[str, ...] = ()
    """Which files of it are these panoramas; empty for all."""
    evaluation: Path | None = None
    """Folder of panoramas to measure on, if others."""
    evaluation_only: tuple[str, ...] = ()
    """Which files of it are these panoramas; empty for all."""
    labels: Path | None = None
    """Folder of labels; None where there are none."""
    labels_set: str = ""
    """Classes of the label files, if others than `label_set`."""
    labels_from_one: bool = False
    """Whether ids of the label files count from 1."""
    labels_index: Path | None = None
    """List of names that colours of the label files refer to."""
    assistant: str = ""
    """Classes of the assistant, where none that is trained on Cityscapes will do."""
    black_poles: bool = False
    """Whether black areas at the top and bottom were not seen; the benchmarks of the others ignore nothing."""


def recognise(folder: Path) -> DataSet | None:
    """The data set whose root a folder is; None for any other folder.

    Raises:
        InputError: it is the root of Cityscapes, whose pictures are no panoramas.
    """
    looks: tuple[Callable[[Path], DataSet | None], ...] = (_stanford, _structured3d, _synpass, _densepass_or_wildpass)
    return next((found for look in looks if (found := look(folder))), None)


def _stanford(folder: Path) -> DataSet | None:
    areas = sorted(path.parent.parent.name for path in folder.glob("area_*/pano/rgb"))
    if not areas:
        return None
    held_out = [area for area in areas if area.startswith("area_5")]
    learning = [area for area in areas if area not in held_out] or areas
    index = next(filter(Path.is_file, (folder / place for place in _LABEL_NAMES)), None)
    about = 'Also possible: label_set = "stanford8", which Structured3D has too. Fold 1: area 5 is held out.'
    if index is None:
        about += f" Its labels cannot be read without {_LABEL_NAMES[0]} of its repository: put it there, init again."
    has_labels = index is not None and any(folder.glob("area_*/pano/semantic"))
    is_split = learning != areas
    return DataSet(
        name="Stanford2D3D",
        about=about,
        label_set="stanford13",
        panoramas=folder,
        panoramas_only=tuple(f"{area}/pano/rgb/*" for area in learning),
        evaluation=folder if is_split else None,
        evaluation_only=tuple(f"{area}/pano/rgb/*" for area in held_out) if is_split else (),
        labels=folder if has_labels else None,
        labels_set="stanford13",
        labels_index=index if has_labels else None,
        assistant="stanford13",
        black_poles=True,
    )


def _structured3d(folder: Path) -> DataSet | None:
    scenes = [path.parent.name for path in folder.glob("scene_*/2D_rendering")]
    if not scenes:
        return None
    learning = any(scene < "scene_03000" for scene in scenes)
    evaluation = any("scene_03000" <= scene < "scene_03250" for scene in scenes)
    room = "2D_rendering/*/panorama/full/rgb_rawlight.png"
    train, validation = ("scene_0[0-2]*",), ("scene_030*", "scene_031*", "scene_032[0-4]*")
    only = train if learning else validation if evaluation else ("scene_*",)
    is_split = learning and evaluation
    return DataSet(
        name="Structured3D",
        about='Furnished rooms in raw light; validation scenes 3000 to 3249. Also possible: label_set = "stanford8".',
        label_set="nyu40",
        panoramas=folder,
        panoramas_only=tuple(f"{scene}/{room}" for scene in only),
        evaluation=folder if is_split else None,
        evaluation_only=tuple(f"{scene}/{room}" for scene in validation) if is_split else (),
        labels=folder if any(folder.glob(f"scene_*/{room.replace('rgb_rawlight', 'semantic')}")) else None,
        labels_set="nyu40",
        labels_from_one=True,
        assistant="nyu40",
    )


def _synpass(folder: Path) -> DataSet | None:
    images, labels = folder / "img", folder / "semantic"
    if not any((images / weather).is_dir() for weather in _WEATHERS):
        return None
    splits = [split for split in ("train", "val", "test") if any(images.glob(f"*/{split}"))]
    is_split = "train" in splits and "val" in splits
    only = (f"*/{splits[0]}/*",) if splits else ()
    return DataSet(
        name="SynPASS",
        about='Merged to 13 classes, which the assistant below knows; label_set = "synpass22" needs one of these 22. '
        'Measured on "val": "*/test/*" is the other labelled part.',
        label_set="densepass13",
        panoramas=images,
        panoramas_only=only,
        evaluation=images if is_split else None,
        evaluation_only=("*/val/*",) if is_split else (),
        labels=labels if labels.is_dir() else None,
        labels_set="synpass22",
        labels_from_one=True,
    )


def _densepass_or_wildpass(folder: Path) -> DataSet | None:
    images, labels = folder / IMAGE_FOLDER, folder / LABEL_FOLDER
    if not images.is_dir():
        return None
    if any(images.rglob(f"*_{IMAGE_FOLDER}.*")):
        raise InputError(
            f"{folder} seems to be Cityscapes, whose pictures are perspective",
            "`goodsam init` is for panoramas",
            f"Train an assistant on it: `goodsam train-assistant {folder} OUT`",
        )
    splits = [split for split in ("train", "val") if (images / split).is_dir()]
    labels = labels / splits[-1] if splits else labels
    is_wild = _has_wildpass_ids(labels)
    return DataSet(
        name="WildPASS" if is_wild else "DensePASS" if labels.is_dir() else "WildPASS2K",
        about="Label files hold ids of Mapillary Vistas, of which WildPASS measures eight classes. An assistant of "
        "Cityscapes classes, as below, knows neither curb nor crosswalk: train one of mapillary26 for these."
        if is_wild
        else 'Also possible: label_set = "densepass13", the protocol with 13 classes.',
        label_set="wildpass8" if is_wild else "cityscapes19",
        panoramas=images / splits[0] if splits else images,
        evaluation=images / "val" if len(splits) == 2 else None,
        labels=labels if labels.is_dir() else None,
        labels_set="mapillary26" if is_wild else "cityscapes19",
    )


def _has_wildpass_ids(labels: Path) -> bool:
    """Whether the first label files have plain names and hold none but the ids that WildPASS measures; files that
    cannot be read say nothing."""
    found = (file for file in visible_files(labels) if file.suffix.lower() == ".png") if labels.is_dir() else ()
    files = list(islice(found, _SAMPLE))
    ids = _ids(files)
    return bool(ids) and not any(has_label_name(file.stem) for file in files) and ids <= _WILDPASS_IDS


def _ids(files: Sequence[Path]) -> set[int]:
    found: set[int] = set()
    for file in files:
        with suppress(InputError):
            found |= set(np.unique(np.asarray(read_picture(file, lambda width, height: None).image)).tolist())
    return found
