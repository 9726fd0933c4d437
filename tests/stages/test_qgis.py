"""Styles for QGIS: the elements and attributes of its format, and each class in its own colour."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element, fromstring

import pytest

from pipeline.classes import CITYSCAPES_19, DENSEPASS_13, LabelSet
from stages.qgis import labels_style, points_style

ODD = LabelSet("odd", ('<"&">', "路", "b"), ((1, 2, 3), (0, 255, 16), (9, 9, 9)), ())


def points(labels: LabelSet) -> Element:
    return fromstring(points_style(labels, "largest_class"))


@pytest.mark.parametrize("style", [labels_style, lambda labels: points_style(labels, "largest_class")])
def test_a_style_is_a_document_of_qgis(style: Callable[[LabelSet], str]) -> None:
    text = style(DENSEPASS_13)
    assert text.startswith("<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n<qgis ")
    assert text.endswith("</qgis>\n")
    root = fromstring(text)
    assert (root.get("version"), root.get("styleCategories")) == ("3.22.0", "Symbology")


def test_a_map_has_one_entry_per_class_and_a_transparent_one_for_what_was_not_seen() -> None:
    root = fromstring(labels_style(ODD))
    renderer = root.find("pipe/rasterrenderer")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    entries = [tuple(entry.get(key) for key in ("value", "label", "color", "alpha"))
               for entry in renderer.iterfind("colorPalette/paletteEntry")]  # fmt: skip
    assert entries == [
        ("0", '<"&">', "#010203", "255"),
        ("1", "路", "#00ff10", "255"),
        ("2", "b", "#090909", "255"),
        ("255", "not seen", "#000000", "0"),
    ]


def test_points_are_told_apart_by_the_column_and_each_class_has_its_symbol() -> None:
    renderer = points(ODD).find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "largest_class")
    symbols = {symbol.get("name"): symbol for symbol in renderer.iterfind("symbols/symbol")}
    colours = {}
    for category in renderer.iterfind("categories/category"):
        assert category.get("value") == category.get("label")
        symbol = symbols.pop(category.get("symbol"))
        options = {option.get("name"): option.get("value") for option in symbol.iterfind("layer/Option/Option")}
        colours[category.get("value")] = options["color"]
    assert colours == {'<"&">': "1,2,3,255", "路": "0,255,16,255", "b": "9,9,9,255"}
    assert symbols == {}


def test_a_layer_of_points_says_so() -> None:
    assert points(ODD).findtext("layerGeometryType") == "0"


def test_every_class_of_a_larger_set_has_an_entry() -> None:
    assert len(list(fromstring(labels_style(CITYSCAPES_19)).iter("paletteEntry"))) == 20
    assert len(list(points(CITYSCAPES_19).iter("category"))) == 19
