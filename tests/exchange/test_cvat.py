"""Label maps for CVAT and back to the pixel; polygons and boxes that people draw there."""

from __future__ import annotations

from io import BytesIO
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given

from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.exchange import cvat
from pipeline.exchange.regions import LabelledPicture
from tests.exchange.label_maps import LABEL_MAPS, street


def as_cvat(labels_hw: np.ndarray, name: str = "street/a.jpg") -> str:
    masks = cvat.masks_xml(labels_hw, DENSEPASS_13)
    image = cvat.image_xml(0, name, *labels_hw.shape, masks=masks)
    return f"<annotations><version>1.1</version>{cvat.meta(DENSEPASS_13, 'run', 1)}{image}</annotations>"


def picture(shapes: str, size: str = 'width="10" height="5"') -> str:
    return f'<annotations><image id="0" name="a.jpg" {size}>{shapes}</image></annotations>'


def read_back(text: str) -> list[LabelledPicture]:
    return list(cvat.read_cvat(text.encode(), DENSEPASS_13, "annotations.xml"))


@given(LABEL_MAPS)
def test_every_pixel_comes_back(labels_hw: np.ndarray) -> None:
    found = read_back(as_cvat(labels_hw))
    if (labels_hw == IGNORE).all():
        assert found == []
    else:
        np.testing.assert_array_equal(found[0].labels_hw, labels_hw)


def test_names_with_marks_of_xml_come_back() -> None:
    name = 'a "b" <c>&amp;></image>.jpg'
    assert [one.name for one in read_back(as_cvat(street(), name))] == [name]


def test_a_mask_is_cut_to_its_box_and_its_runs_begin_with_background() -> None:
    labels = np.full((5, 10), IGNORE, np.uint8)
    labels[1, 2] = labels[2, 1:4] = 0
    (mask,) = fromstring(f"<a>{cvat.masks_xml(labels, DENSEPASS_13)}</a>")
    assert mask.attrib | {"label": "road", "left": "1", "top": "1", "width": "3", "height": "2"} == mask.attrib
    assert mask.get("rle") == "1, 1, 1, 3"
    labels[1, 1] = 0
    (mask,) = fromstring(f"<a>{cvat.masks_xml(labels, DENSEPASS_13)}</a>")
    assert mask.get("rle") == "0, 2, 1, 3"


def test_the_task_and_its_labels_are_described() -> None:
    meta = fromstring(cvat.meta(DENSEPASS_13, "my run", 7))
    assert (meta.findtext("task/name"), meta.findtext("task/size")) == ("my run", "7")
    assert [label.findtext("name") for label in meta.iter("label")] == list(DENSEPASS_13.names)
    assert meta.findtext("task/labels/label/color") == "#804080"
    constructor = cvat.label_constructor(DENSEPASS_13)
    assert constructor[0] == {"name": "road", "color": "#804080", "type": "mask", "attributes": []}
    assert [label["name"] for label in constructor] == list(DENSEPASS_13.names)


def test_polygons_and_boxes_become_pixels() -> None:
    shapes = (
        '<polygon label="road" points="0.0,0.0;8.0,0.0;8.0,4.0;0.0,4.0" z_order="0"/>'
        '<box label="Car" xtl="2" ytl="1" xbr="4" ybr="3" z_order="1"/>'
        '<mask label="sky" rle="0, 2" left="0" top="0" width="2" height="1" z_order="0"/>'
    )
    found = read_back(picture(shapes))[0].labels_hw
    wanted = np.full((5, 10), IGNORE, np.uint8)
    wanted[:4, :8], wanted[1:3, 2:4], wanted[0, :2] = 0, 12, 10
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("degrees", ["90.00", "270.00", "-90"])
def test_a_turned_box_lies_where_cvat_shows_it(degrees: str) -> None:
    """Around its middle: the box of 6 x 2 pixels stands upright."""
    box = f'<box label="car" xtl="2" ytl="4" xbr="8" ybr="6" rotation="{degrees}" z_order="0"/>'
    wanted = np.full((10, 10), IGNORE, np.uint8)
    wanted[2:8, 4:6] = 12
    np.testing.assert_array_equal(read_back(picture(box, 'width="10" height="10"'))[0].labels_hw, wanted)


def test_a_box_is_turned_clockwise() -> None:
    box = '<box label="car" xtl="2" ytl="4" xbr="8" ybr="6" rotation="30.00" z_order="0"/>'
    found_hw = read_back(picture(box, 'width="10" height="10"'))[0].labels_hw == 12
    rows, columns = np.indices(found_hw.shape) + 0.5
    along = (columns - 5) * np.cos(np.pi / 6) + (rows - 5) * np.sin(np.pi / 6)  # its right end has gone down
    across = (rows - 5) * np.cos(np.pi / 6) - (columns - 5) * np.sin(np.pi / 6)
    np.testing.assert_array_equal(found_hw, (np.abs(along) < 3) & (np.abs(across) < 1))


@pytest.mark.parametrize("shape", ["polygon", "mask"])
def test_other_shapes_that_are_turned_are_refused(shape: str) -> None:
    what = {"polygon": 'points="0,0;4,0;4,4"', "mask": 'rle="0, 2" left="0" top="0" width="2" height="1"'}[shape]
    assert read_back(picture(f'<{shape} label="car" {what} rotation="0.0"/>'))[0].labels_hw[0, 1] == 12
    with pytest.raises(InputError, match=f"a.jpg has a {shape} that is turned by 30 degrees; only boxes can be turned"):
        read_back(picture(f'<{shape} label="car" {what} rotation="30.0"/>'))


def test_what_has_the_higher_order_lies_on_top_wherever_it_stands_in_the_file() -> None:
    road, car = ('<box label="{}" xtl="0" ytl="0" xbr="9" ybr="4" z_order="{}"/>'.format(*one)
                 for one in (("road", 0), ("car", 1)))  # fmt: skip
    for shapes in (road + car, car + road):
        assert read_back(picture(shapes))[0].labels_hw[2, 2] == 12


def test_files_are_read_a_picture_at_a_time_and_those_without_shapes_are_left_out() -> None:
    images = [cvat.image_xml(n, f"{n}.jpg", 60, 120, cvat.masks_xml(street(), DENSEPASS_13) if n != 1 else "")
              for n in range(3)]  # fmt: skip
    text = f"<annotations>{''.join(images)}"  # damaged at its end, after what is asked for
    found = cvat.read_cvat(BytesIO(text.encode()), DENSEPASS_13, "x")
    assert [next(found).name, next(found).name] == ["0.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('label="road"', 'label="lava"', "has the class 'lava'; densepass13 has road, sidewalk"),
        ('rle="', 'rle="7, ', "they must sum to those of its box"),
        ('left="0"', 'left="99"', "mask that reaches beyond its 120x60 pixels"),
        ('left="0"', 'left="-1"', "mask that reaches beyond its 120x60 pixels"),
        ('rle="', 'rle="a, ', "cannot be read"),
        ('rle="', 'rle="99999999999999999999, ', "cannot be read"),
        ("<annotations>", '<?xml version="1.0" encoding="klingon"?><annotations>', "is damaged"),
        ("<annotations>", '<?xml version="1.0" encoding="gbk"?><annotations>', "is damaged"),
        ('left="0"', 'left="0" rotation="a"', "cannot be read"),
        (' height="60"', "", "cannot be read"),
        (' height="60"', ' height="600000000"', "has labels of 120x600000000 pixels; a picture has at most"),
        ("</annotations>", "", "is damaged"),
        ("annotations>", "somethings>", "has no <annotations>"),
        ("mask ", "ellipse ", "has the shape 'ellipse'; label maps are made of mask, polygon, box"),
        ("image>", "track>", "is an export for videos"),
    ],
)
def test_damaged_exports_are_refused_in_one_sentence(old: str, new: str, told: str) -> None:
    text = as_cvat(street())
    assert old in text
    changed = text.replace(old, new).replace("</mask>", "</ellipse>" if "ellipse" in new else "</mask>")
    with pytest.raises(InputError, match=told):
        read_back(changed.replace("<image", "<track") if "track" in new else changed)
