"""Label maps for Label Studio and back to the pixel; what people draw there, and what is refused."""

from __future__ import annotations

import json
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given

from pipeline.arrays import LabelArray
from pipeline.classes import DENSEPASS_13, IGNORE
from pipeline.errors import InputError
from pipeline.exchange import labelstudio
from pipeline.exchange.brush import encode_brush
from pipeline.exchange.regions import LabelledPicture
from tests.exchange.label_maps import LABEL_MAPS, street


def as_annotated(labels_hw: np.ndarray) -> list[dict[str, Any]]:
    """What Label Studio exports once somebody has accepted the predictions."""
    task = labelstudio.task("/data/a.jpg", "a.jpg", "ab" * 32, labelstudio.results(labels_hw, DENSEPASS_13))
    return [{**task, "id": 1, "annotations": [{"result": task["predictions"][0]["result"], "was_cancelled": False}]}]


def read(tasks: Any) -> list[LabelledPicture]:
    return list(labelstudio.read_labelstudio(tasks, DENSEPASS_13, "export.json"))


def drawn(*regions: dict[str, Any]) -> LabelArray:
    """The label map of regions that somebody drew over a picture of 10 x 20 pixels."""
    common = {"original_width": 20, "original_height": 10}
    (found,) = read([{"data": {"image": "a.jpg"}, "annotations": [{"result": [r | common for r in regions]}]}])
    return found.labels_hw


def rectangle(label: str, left: float, top: float, width: float, height: float) -> dict[str, Any]:
    """In percent of the picture, as Label Studio has it."""
    value = {"x": left, "y": top, "width": width, "height": height, "rectanglelabels": [label]}
    return {"type": "rectanglelabels", "value": value}


@given(LABEL_MAPS)
def test_every_pixel_comes_back(labels_hw: np.ndarray) -> None:
    found = read(as_annotated(labels_hw))
    if (labels_hw == IGNORE).all():
        assert found == []
    else:
        np.testing.assert_array_equal(found[0].labels_hw, labels_hw)
        assert (found[0].name, found[0].sha256) == ("a.jpg", "ab" * 32)


def test_the_interface_names_every_class_in_its_colour() -> None:
    interface = fromstring(labelstudio.interface_xml(DENSEPASS_13))
    labels = list(interface.iter("Label"))
    assert [label.get("value") for label in labels] == list(DENSEPASS_13.names)
    assert labels[0].get("background") == "#804080"


def test_label_studios_own_check_takes_the_interface_and_the_predictions() -> None:
    studio: Any = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    interface = studio.LabelInterface(labelstudio.interface_xml(DENSEPASS_13))
    interface.validate()
    task = labelstudio.task("/data/a.jpg", "a.jpg", "0" * 64, labelstudio.results(street(), DENSEPASS_13))
    (prediction,) = task["predictions"]
    assert interface.validate_prediction(prediction, return_errors=True) == []
    prediction["result"][0]["value"]["brushlabels"] = ["kerb"]
    assert interface.validate_prediction(prediction, return_errors=True) != [], "it looks at the classes"


def test_results_belong_to_the_tags_of_the_interface() -> None:
    interface = fromstring(labelstudio.interface_xml(DENSEPASS_13))
    names = {tag.get("name") for tag in interface} - {None}
    for result in labelstudio.results(street(), DENSEPASS_13):
        assert {result["from_name"], result["to_name"]} == names


def test_rectangles_and_polygons_are_in_percent_of_the_picture_and_later_ones_lie_on_top() -> None:
    polygon = {"type": "polygonlabels", "value": {"points": [[10, 20], [45, 20], [45, 90], [10, 90]],
                                                  "polygonlabels": ["Car"]}}  # fmt: skip
    found = drawn(rectangle("road", 0, 0, 60, 100), polygon)
    wanted = np.full((10, 20), IGNORE, np.uint8)
    wanted[:, :12], wanted[2:9, 2:9] = 0, 12
    np.testing.assert_array_equal(found, wanted)
    assert (drawn(polygon, rectangle("road", 0, 0, 60, 100))[:, :12] == 0).all()


def test_a_turned_rectangle_lies_where_label_studio_shows_it() -> None:
    """Around its upper left corner, clockwise, in pixels: the rectangle of 8 x 2 stands upright, left of the corner."""
    turned = rectangle("car", 50, 10, 40, 20)
    turned["value"]["rotation"] = 90
    wanted = np.full((10, 20), IGNORE, np.uint8)
    wanted[1:9, 8:10] = 12
    np.testing.assert_array_equal(drawn(turned), wanted)
    turned["value"]["rotation"] = 0
    wanted[:] = IGNORE
    wanted[1:3, 10:18] = 12
    np.testing.assert_array_equal(drawn(turned), wanted)


@pytest.mark.parametrize("kind", ["brushlabels", "polygonlabels"])
def test_other_regions_that_are_turned_are_refused(kind: str) -> None:
    shape = {"rle": encode_brush(np.ones((10, 20), np.bool_))} if kind == "brushlabels" else {
        "points": [[0, 0], [100, 0], [100, 100], [0, 100]]}  # fmt: skip
    region: dict[str, Any] = {"type": kind, "value": {**shape, kind: ["car"], "rotation": 0}}
    assert (drawn(region) == 12).all()
    region["value"]["rotation"] = 30
    with pytest.raises(InputError, match=f"has a region of the type '{kind}' that is turned by 30 degrees"):
        drawn(region)


def test_choices_about_the_whole_picture_are_no_regions() -> None:
    choice = {"type": "choices", "value": {"choices": ["good"]}}
    assert (drawn(choice, rectangle("sky", 0, 0, 100, 50))[:4] == 10).all()
    assert read([{"data": {}, "annotations": [{"result": [choice]}]}]) == []


def test_the_last_annotation_that_was_not_cancelled_counts() -> None:
    tasks = as_annotated(street())
    first = tasks[0]["annotations"][0]
    size = {"original_width": 120, "original_height": 60}
    tasks[0]["annotations"] += [{"result": [rectangle("car", 0, 0, 100, 100) | size]},
                                first | {"was_cancelled": True}]  # fmt: skip
    assert (read(tasks)[0].labels_hw == 12).all()


def test_a_task_of_another_project_is_named_by_its_picture_or_its_number() -> None:
    size = {"original_width": 20, "original_height": 10}
    done = [{"result": [rectangle("car", 0, 0, 100, 100) | size]}]
    found = read([{"data": {"image": "/data/b.jpg"}, "annotations": done}, {"data": {}, "id": 7, "annotations": done}])
    assert [(one.name, one.sha256) for one in found] == [("/data/b.jpg", ""), ("task 7", "")]


def test_tasks_that_nobody_annotated_or_that_were_cancelled_are_left_out() -> None:
    tasks = as_annotated(street())
    tasks[0]["annotations"][0]["was_cancelled"] = True
    assert not read(tasks)
    del tasks[0]["annotations"]
    assert not read(tasks)


def test_damaged_exports_are_refused_in_one_sentence() -> None:
    good = json.dumps(as_annotated(street()))
    read(json.loads(good))
    for no_export in ({"image": "a.jpg"}, [{"image": "a.jpg"}], ["a.jpg"]):
        with pytest.raises(InputError, match=r"export\.json is not a list of tasks"):
            read(no_export)
    with pytest.raises(InputError, match=r"export\.json: a\.jpg has the class 'lava'"):
        read(json.loads(good.replace('"road"', '"lava"')))
    with pytest.raises(InputError, match="brush mask of 7200 pixels; its picture has 121x60"):
        read(json.loads(good.replace('"original_width": 120', '"original_width": 121')))
    with pytest.raises(InputError, match="has labels of 120000000000x60 pixels; a picture has at most"):
        read(json.loads(good.replace('"original_width": 120', '"original_width": 120000000000')))
    two = json.loads(good)
    two[0]["annotations"][0]["result"][0]["original_width"] = 121
    with pytest.raises(InputError, match="regions drawn on pictures of different sizes"):
        read(two)
    with pytest.raises(InputError, match="an annotation that cannot be read"):
        read(json.loads(good.replace('"original_width"', '"width"')))
    with pytest.raises(InputError, match="an annotation that cannot be read"):
        read(json.loads(good.replace('"original_width": 120', '"original_width": 1e999')))
    for broken in ([7], {"id": 7}, [{"result": [None]}], [{"result": {"id": 7}}]):  # as of other exports
        with pytest.raises(InputError, match="an annotation that cannot be read"):
            read([{**json.loads(good)[0], "annotations": broken}])
    empty = json.loads(good)
    del empty[0]["annotations"][0]["result"][1]["value"]
    with pytest.raises(InputError, match=r"a\.jpg has a region of the type 'brushlabels' without a value"):
        read(empty)
    cut = json.loads(good)
    del cut[0]["annotations"][0]["result"][0]["value"]["rle"][-5:]
    with pytest.raises(InputError, match="damaged brush mask"):
        read(cut)
    with pytest.raises(InputError, match="region of the type 'ellipselabels'"):
        read(json.loads(good.replace("brushlabels", "ellipselabels")))
