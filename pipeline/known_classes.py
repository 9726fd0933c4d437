"""Classes of the field's data sets as plain tables: names in the order of their ids, and how sets merge.

Every table says where it comes from. What could not be sourced, and is ours, says so.
"""

from __future__ import annotations

IGNORE = 255
"""Label of pixels that belong to no class: not learned from, not measured."""

CITYSCAPES_19 = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""Cityscapes train ids."""
CITYSCAPES_34 = (
    "unlabeled", "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "ground", "road", "sidewalk",
    "parking", "rail track", "building", "wall", "fence", "guard rail", "bridge", "tunnel", "pole", "polegroup",
    "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
    "caravan", "trailer", "train", "motorcycle", "bicycle",
)  # fmt: skip
"""The ids of Cityscapes' own `labelIds` files, as its scripts (cityscapesScripts, helpers/labels.py) list them."""
DENSEPASS_13 = (*CITYSCAPES_19[:12], "car")
"""DensePASS with 13 classes, in the order of Trans4PASS (`adaptations/evaluate_out13.py`)."""
WILDPASS_8 = ("car", "truck", "bus", "road", "sidewalk", "person", "curb", "crosswalk")
"""The classes that WildPASS measures, in the order of its `segment/eval_color_fusion.py`."""
MAPILLARY_26 = (
    "pole", "street light", "billboard", "traffic light", "car", "truck", "bicycle", "motorcycle", "bus",
    "traffic sign front", "traffic sign back", "road", "sidewalk", "curb", "fence", "wall", "building", "person",
    "motorcyclist", "bicyclist", "sky", "vegetation", "terrain", "general marking", "crosswalk zebra", "unlabelled",
)  # fmt: skip
"""The 25 Mapillary Vistas classes whose ids WildPASS's label files hold, and the 26th number that its code counts (its
`segment/dataset_loader.py` and `eval_color_fusion.py`). Which number its files have where nothing is labelled could not
be sourced: 25 and 255 are both ignored here."""
STANFORD_13 = (
    "beam", "board", "bookcase", "ceiling", "chair", "clutter", "column", "door", "floor", "sofa", "table", "wall",
    "window",
)  # fmt: skip
"""Stanford2D3D, in the order of Trans4PASS (`name2label.json`, less its `<UNK>`)."""
STANFORD_8 = ("ceiling", "chair", "door", "floor", "sofa", "table", "wall", "window")
"""The classes that Stanford2D3D and Structured3D share, in the order of Trans4PASS's `stanford_pan8_dataset.py`."""
SYNPASS_22 = (
    "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation", "vehicles",
    "wall", "traffic sign", "sky", "ground", "bridge", "rail track", "ground rail", "traffic light", "static",
    "dynamic", "water", "terrain",
)  # fmt: skip
"""SynPASS, in the order of Trans4PASS's loader of it. Its files count from 1; 0 is unlabelled."""
NYU_40 = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "nightstand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
"""Structured3D, from its `metadata/labelids.txt`. Its files count from 1; Trans4PASS's loader ignores 0."""
CAMVID_11 = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
"""CamVid with 11 classes, as SegNet's files (`trainannot`) have them."""
CAMVID_12 = (*CAMVID_11, "unlabelled")
"""The same with the id 11 of those files, which stands for no class."""

_19_TO_13 = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 12, 12, IGNORE, 12, 12)
"""DensePASS's protocol."""


def _by_name(source: tuple[str, ...], target: tuple[str, ...], **other: str) -> tuple[int, ...]:
    """Classes merge into those of the same name, or into what `other` says; all else is ignored."""
    wanted = (other.get(name.replace(" ", "_"), name) for name in source)
    return tuple(target.index(name) if name in target else IGNORE for name in wanted)


MERGES: dict[tuple[str, str], tuple[int, ...]] = {
    ("cityscapes19", "densepass13"): _19_TO_13,
    ("cityscapes34", "cityscapes19"): _by_name(CITYSCAPES_34, CITYSCAPES_19),
    ("cityscapes34", "densepass13"): tuple(
        IGNORE if id_ == IGNORE else _19_TO_13[id_] for id_ in _by_name(CITYSCAPES_34, CITYSCAPES_19)
    ),
    ("mapillary26", "wildpass8"): _by_name(MAPILLARY_26, WILDPASS_8, crosswalk_zebra="crosswalk"),
    # Ours: Cityscapes has neither curbs nor crosswalks; a network trained on it never predicts these two.
    ("cityscapes19", "wildpass8"): _by_name(CITYSCAPES_19, WILDPASS_8),
    ("stanford13", "stanford8"): _by_name(STANFORD_13, STANFORD_8),
    ("nyu40", "stanford8"): _by_name(NYU_40, STANFORD_8),
    # As Trans4PASS (`sp13_dataset.py`): lines are road; other, ground, bridge, rails, static, dynamic, water are none.
    ("synpass22", "densepass13"): _by_name(
        SYNPASS_22, DENSEPASS_13, pedestrian="person", road_line="road", vehicles="car"
    ),
    ("camvid12", "camvid11"): _by_name(CAMVID_12, CAMVID_11),
    # Ours: a bicyclist is the rider with the bicycle, here a person as DensePASS has its riders.
    **{
        (source, "densepass13"): _by_name(
            names, DENSEPASS_13, pavement="sidewalk", tree="vegetation", sign="traffic sign", pedestrian="person",
            bicyclist="person",
        )
        for source, names in (("camvid12", CAMVID_12), ("camvid11", CAMVID_11))
    },
}  # fmt: skip
"""Target class per source class, by the names of the two label sets."""
