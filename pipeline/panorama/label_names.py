"""Where the label of an image may lie, and what it is called, in the layouts of the field's data sets.

| data set | image | label | known from |
| --- | --- | --- | --- |
| DensePASS | `leftImg8bit/val/cs/1_.png` | `gtFine/val/cs/1_labelTrainIds.png` | Trans4PASS, `densepass_dataset.py` |
| WildPASS | `leftImg8bit/val/cs/1.png` | `gtFine/val/cs/1.png` | WildPASS, `eval_color_fusion.py` |
| Stanford2D3D | `pano/rgb/*_rgb.png` | `pano/semantic/*_semantic.png` | 2D-3D-Semantics, `README.md` |
| SynPASS | `img/fog/val/*/1.jpg` | `semantic/fog/val/*/1_trainID.png` | Trans4PASS, `sp13_dataset.py` |
| Structured3D | `full/rgb_rawlight.png` | `full/semantic.png` | Structured3D, `data_organization.md` |
| Cityscapes | `1_leftImg8bit.png` | `1_gtFine_labelTrainIds.png`, `1_gtFine_labelIds.png` | cityscapesScripts |
| your own | `images/1.jpg` | `labels/1.png` | ours |

The places named with Trans4PASS, WildPASS, 2D-3D-Semantics and Structured3D are files of those public repositories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from pipeline.panorama.finding import LABEL_ENDING, LABEL_FOLDER

IMAGE_FOLDER = "leftImg8bit"
"""Folder of images in the layout of Cityscapes and DensePASS."""
LABEL_IDS_ENDING = "_labelIds"
"""Ending of label files' stems that hold Cityscapes' own ids, not the train ids."""

_FOLDERS = ((IMAGE_FOLDER, LABEL_FOLDER), ("img", "semantic"), ("rgb", "semantic"), ("images", "labels"))
"""Folders of images and of their labels."""
_LIGHTS = ("rgb_rawlight", "rgb_coldlight", "rgb_warmlight")
"""Structured3D's three pictures of one room, which share a label."""
_ENDINGS = (LABEL_ENDING, "_trainID", "_semantic")


def has_label_name(stem: str) -> bool:
    """Whether a file's stem says that it is a label of class ids, where others may be coloured pictures of them."""
    return stem.endswith(_ENDINGS) or stem == "semantic"


def label_candidates(image_id: str) -> Iterator[PurePosixPath]:
    """Paths where the label of an image may be, relative to the folder of labels, the most specific names first.

    Args:
        image_id: path of the image without suffix, relative to the folder of images, in posix form.
    """
    image = PurePosixPath(image_id)
    folders = tuple(dict.fromkeys(_label_folders(image.parent)))
    for name in dict.fromkeys(_label_names(image.name)):
        yield from (folder / name for folder in folders)


def _label_folders(image_folder: PurePosixPath) -> Iterable[PurePosixPath]:
    """Folders that may correspond to an image's, images and labels being named by their own folder or by the root."""
    parts = image_folder.parts
    for images, labels in _FOLDERS:
        if images in parts:
            at = parts.index(images)
            below = parts[at + 1 :]
            yield PurePosixPath(*parts[:at], labels, *below)
            yield PurePosixPath(*below)
    yield image_folder
    yield from (PurePosixPath(labels, *parts) for _, labels in _FOLDERS)


def _label_names(stem: str) -> Iterable[str]:
    bare, city = stem.removesuffix("_"), stem.removesuffix(IMAGE_FOLDER)
    yield f"{bare}{LABEL_ENDING}.png"
    if stem.endswith(f"_{IMAGE_FOLDER}"):
        yield f"{city}{LABEL_FOLDER}{LABEL_ENDING}.png"
    if stem.endswith("_rgb"):
        yield f"{stem.removesuffix('_rgb')}_semantic.png"
    if stem in _LIGHTS:
        yield "semantic.png"
    yield f"{stem}_trainID.png"
    yield f"{stem}.png"
    yield f"{bare}.png"
    if stem.endswith(f"_{IMAGE_FOLDER}"):
        yield f"{city}{LABEL_FOLDER}{LABEL_IDS_ENDING}.png"
