"""Labels whose colours are numbers: every pixel is an index, red * 65536 + green * 256 + blue, into a list of names.

Stanford2D3D has such labels (README of alexsax/2D-3D-Semantics, "Semantic"): its `assets/semantic_labels.json` lists
one name per object, such as `chair_3_office_12_4`, whose first part is the class. Pixels without data have the colour
#0D0D0D, which is beyond the end of the list; `<UNK>` is no class either.

Legend: N names of the list, H W the label's own size, 3 = RGB.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.classes import IGNORE, LabelSet
from pipeline.errors import InputError


def read_label_index(path: Path, label_set: LabelSet) -> npt.NDArray[np.uint8]:
    """Class id of `label_set` per entry of a list of names, [N]; 255 for names of no class.

    Args:
        path: a JSON list of texts; the class is the text before the first `_`.
        label_set: the classes.

    Raises:
        InputError: the file is not such a list, or names none of the classes.
    """
    expected = f"it must be a JSON list of names such as {label_set.names[0]}_1_office_3"
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", expected, "Check data.labels_index") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})", expected, "Check data.labels_index") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path} is not a list of names", expected, "Check data.labels_index")
    ids = {name: class_id for class_id, name in enumerate(label_set.names)}
    classes_N = np.array([ids.get(name.partition("_")[0], IGNORE) for name in names], np.uint8)
    if (classes_N == IGNORE).all():
        raise InputError(f"{path} names no class of {label_set.name}", expected,
                         "Set data.labels_set to the classes of this list")  # fmt: skip
    return classes_N


def decode_colours(colours_HW3: npt.NDArray[np.uint8], classes_N: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Class ids [H, W] of colours that are indices; 255 beyond the end of the list.

    Args:
        colours_HW3: RGB.
        classes_N: of `read_label_index`.
    """
    red, green, blue = np.moveaxis(colours_HW3.astype(np.int32), -1, 0)
    index_HW = (red << 16) + (green << 8) + blue
    return np.append(classes_N, np.uint8(IGNORE))[np.minimum(index_HW, len(classes_N))]
