"""Label maps in the formats of labelling tools, and back to the pixel."""

from __future__ import annotations

import importlib
import json
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.exchange import coco, cvat, labelstudio
from pipeline.exchange.brush import decode_brush, encode_brush
from pipeline.exchange.regions import LabelledPicture, mask_of_runs, run_lengths

LABEL_MAPS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 12, IGNORE]))
)
MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(np.bool_, shape))


def street() -> np.ndarray:
    """A label map with a class that touches both sides of the seam, thin things and unlabelled pixels."""
    labels = np.full((60, 120), 10, np.uint8)
    labels[30:] = 0
    labels[20:40, 50:53] = 5
    labels[25:35, :8] = labels[25:35, 110:] = 2
    labels[55:, 20:90] = IGNORE
    return labels


def as_cvat(labels_hw: np.ndarray, name: str = "street/a.jpg") -> str:
    masks = cvat.masks_xml(labels_hw, DENSEPASS_13)
    image = cvat.image_xml(0, name, *labels_hw.shape, masks=masks)
    return f"<annotations><version>1.1</version>{cvat.meta(DENSEPASS_13, 'run', 1)}{image}</annotations>"


def read_back(text: str) -> list[LabelledPicture]:
    return list(cvat.read_cvat(text.encode(), DENSEPASS_13, "annotations.xml"))


def as_annotated(labels_hw: np.ndarray) -> list[dict[str, Any]]:
    """What Label Studio exports once somebody has accepted the predictions."""
    task = labelstudio.task("/data/a.jpg", "a.jpg", "ab" * 32, labelstudio.results(labels_hw, DENSEPASS_13))
    return [{**task, "id": 1, "annotations": [{"result": task["predictions"][0]["result"], "was_cancelled": False}]}]


@given(LABEL_MAPS)
def test_cvat_gives_back_every_pixel(labels_hw: np.ndarray) -> None:
    found = read_back(as_cvat(labels_hw))
    if (labels_hw == IGNORE).all():
        assert found == []
    else:
        np.testing.assert_array_equal(found[0].labels_hw, labels_hw)


@given(LABEL_MAPS)
def test_label_studio_gives_back_every_pixel(labels_hw: np.ndarray) -> None:
    found = list(labelstudio.read_labelstudio(as_annotated(labels_hw), DENSEPASS_13, "export.json"))
    if (labels_hw == IGNORE).all():
        assert found == []
    else:
        np.testing.assert_array_equal(found[0].labels_hw, labels_hw)
        assert found[0].sha256 == "ab" * 32


@given(MASKS)
def test_brush_masks_come_back(mask_hw: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_brush(encode_brush(mask_hw), *mask_hw.shape, where="x"), mask_hw)


def test_brush_runs_longer_than_a_count_come_back() -> None:
    mask = np.zeros((400, 400), bool)
    mask[100:300] = True
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), 400, 400, "x"), mask)


def test_brush_masks_with_literal_values_are_read() -> None:
    """As Label Studio's own encoder mixes them: a literal block of four bytes, and a run of four."""
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += "0" + "00" + f"{3:03b}" + "".join(f"{value:08b}" for value in (1, 2, 3, 200))
    bits += "1" + "00" + f"{3:03b}" + f"{90:08b}"
    padded = bits.ljust(-(-len(bits) // 8) * 8, "0")
    content = [int(padded[at : at + 8], 2) for at in range(0, len(padded), 8)]
    np.testing.assert_array_equal(decode_brush(content, 1, 2, "x"), [[True, False]])


@given(MASKS)
def test_runs_fill_a_mask(mask_hw: np.ndarray) -> None:
    runs = run_lengths(mask_hw.ravel())
    counts = np.append(0, runs) if mask_hw[0, 0] else runs
    np.testing.assert_array_equal(mask_of_runs(counts, *mask_hw.shape, where="x"), mask_hw)


def test_coco_tools_read_segments_and_panoptic_map() -> None:
    coco_mask: Any = importlib.import_module("pycocotools.mask")
    labels = street()
    again = np.full_like(labels, IGNORE)
    for segment in coco.segments(labels):
        mask = coco_mask.decode(segment["segmentation"]).astype(bool)
        again[mask] = segment["category_id"] - 1
        rows, columns = np.nonzero(mask)
        assert segment["area"] == mask.sum()
        left, top, width, height = segment["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
    np.testing.assert_array_equal(again, labels)
    ids = coco.panoptic_map(labels).astype(int) @ [1, 256, 65536]
    np.testing.assert_array_equal(ids, np.where(labels == IGNORE, 0, labels.astype(int) + 1))
    assert {one["id"] for one in coco.panoptic_segments(coco.segments(labels))} == set(ids[ids > 0].tolist())
    assert [one["id"] for one in coco.categories(DENSEPASS_13)] == list(range(1, 14))


def test_label_studios_own_converter_reads_brush_masks() -> None:
    brush: Any = pytest.importorskip("label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed")
    mask = street() == 2
    alpha = brush.decode_rle(encode_brush(mask)).reshape(*mask.shape, 4)[..., 3]
    np.testing.assert_array_equal(alpha, mask * 255)
    theirs = brush.mask2rle(mask.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode_brush(theirs, *mask.shape, where="x"), mask)


def test_label_studios_own_check_takes_the_interface_and_the_predictions() -> None:
    studio: Any = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    interface = studio.LabelInterface(labelstudio.interface_xml(DENSEPASS_13))
    interface.validate()
    task = labelstudio.task("/data/a.jpg", "a.jpg", "0" * 64, labelstudio.results(street(), DENSEPASS_13))
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
    prediction["result"][0]["value"]["brushlabels"] = ["kerb"]
    assert interface.validate_prediction(prediction, return_errors=True) != [], "it looks at the classes"


def test_interfaces_name_every_class_in_its_colour() -> None:
    interface = fromstring(labelstudio.interface_xml(DENSEPASS_13))
    assert [label.get("value") for label in interface.iter("Label")] == list(DENSEPASS_13.names)
    constructor = cvat.label_constructor(DENSEPASS_13)
    assert constructor[0] == {"name": "road", "color": "#804080", "type": "mask", "attributes": []}


def test_polygons_and_boxes_drawn_in_cvat_become_pixels_and_later_ones_lie_on_top() -> None:
    shapes = (
        '<polygon label="road" points="0.0,0.0;8.0,0.0;8.0,4.0;0.0,4.0" z_order="0"/>'
        '<box label="Car" xtl="2" ytl="1" xbr="4" ybr="3" z_order="1"/>'
        '<mask label="sky" rle="0, 2" left="0" top="0" width="2" height="1" z_order="0"/>'
    )
    text = f'<annotations><image id="0" name="a.jpg" width="10" height="5">{shapes}</image></annotations>'
    expected = np.full((5, 10), IGNORE, np.uint8)
    expected[:4, :8] = 0
    expected[0, :2] = 10
    expected[1:3, 2:4] = 12
    found = read_back(text)[0].labels_hw
    assert np.count_nonzero(found != expected) <= 24, "outlines may gain the pixels that they touch"
    assert found[2, 6] == 0 and found[0, 0] == 10 and found[1, 2] == 12 and found[4, 9] == IGNORE


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('label="road"', 'label="lava"', "has the class 'lava'; densepass13 has road, sidewalk"),
        ('rle="', 'rle="7, ', "they must sum to those of its box"),
        ('left="0"', 'left="99"', "mask that reaches beyond its 120x60 pixels"),
        ('rle="', 'rle="a, ', "cannot be read"),
        ("</annotations>", "", "is damaged"),
        ("annotations>", "somethings>", "has no <annotations>"),
        ("mask ", "ellipse ", "has the shape 'ellipse'"),
    ],
)
def test_damaged_cvat_exports_are_refused_in_one_sentence(old: str, new: str, told: str) -> None:
    text = as_cvat(street())
    assert old in text
    with pytest.raises(InputError, match=told):
        read_back(text.replace(old, new).replace("</mask>", "</ellipse>" if "ellipse" in new else "</mask>"))


def test_damaged_label_studio_exports_are_refused_in_one_sentence() -> None:
    def read(tasks: Any) -> None:
        list(labelstudio.read_labelstudio(tasks, DENSEPASS_13, "export.json"))

    good = json.dumps(as_annotated(street()))
    read(json.loads(good))
    with pytest.raises(InputError, match="not a list of tasks"):
        read({"image": "a.jpg"})
    with pytest.raises(InputError, match="has the class 'lava'"):
        read(json.loads(good.replace('"road"', '"lava"')))
    with pytest.raises(InputError, match="brush mask of 7200 pixels; its picture has 121x60"):
        read(json.loads(good.replace('"original_width": 120', '"original_width": 121')))
    cut = json.loads(good)
    del cut[0]["annotations"][0]["result"][0]["value"]["rle"][-5:]
    with pytest.raises(InputError, match="damaged brush mask"):
        read(cut)
    with pytest.raises(InputError, match="region of the type 'ellipselabels'"):
        read(json.loads(good.replace("brushlabels", "ellipselabels")))


def test_tasks_that_nobody_annotated_or_that_were_cancelled_are_left_out() -> None:
    tasks = as_annotated(street())
    tasks[0]["annotations"][0]["was_cancelled"] = True
    assert not list(labelstudio.read_labelstudio(tasks, DENSEPASS_13, "x"))
    del tasks[0]["annotations"]
    assert not list(labelstudio.read_labelstudio(tasks, DENSEPASS_13, "x"))
