"""Styles for QGIS in the colours of a label set (.qml; in QGIS: Layer Properties > Style > Load Style)."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pipeline.classes import LabelSet

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_VERSION = "3.22.0"
"""The release from which on QGIS reads these styles as they are."""


def points_style(labels: LabelSet, column: str) -> str:
    """A style of points: a category per class, by the name in `column`."""
    style = _style()
    renderer = SubElement(style, "renderer-v2", type="categorizedSymbol", attr=column, forceraster="0",
                          symbollevels="0", enableorderby="0")  # fmt: skip
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for number, (name, colour) in enumerate(zip(labels.names, labels.palette, strict=True)):
        SubElement(categories, "category", symbol=str(number), value=name, label=name, render="true", type="string")
        symbol = SubElement(symbols, "symbol", type="marker", name=str(number), alpha="1", clip_to_extent="1",
                            force_rhr="0")  # fmt: skip
        layer = SubElement(symbol, "layer", {"class": "SimpleMarker"}, enabled="1", locked="0")
        options = SubElement(layer, "Option", type="Map")
        for key, value in {
            "name": "circle", "color": ",".join(map(str, (*colour, 255))), "outline_color": "35,35,35,255",
            "outline_width": "0.2", "outline_width_unit": "MM", "size": "3", "size_unit": "MM",
        }.items():  # fmt: skip
            SubElement(options, "Option", type="QString", name=key, value=value)
    SubElement(style, "layerGeometryType").text = "0"
    return _text(style)


def labels_style(labels: LabelSet) -> str:
    """A style of label maps: each class id in its colour, 255 transparent."""
    style = _style()
    renderer = SubElement(SubElement(style, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1",
                          alphaBand="-1", nodataColor="")  # fmt: skip
    palette = SubElement(renderer, "colorPalette")
    for number, (name, (red, green, blue)) in enumerate(zip(labels.names, labels.palette, strict=True)):
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        SubElement(palette, "paletteEntry", value=str(number), color=colour, alpha="255", label=name)
    SubElement(palette, "paletteEntry", value="255", color="#000000", alpha="0", label="not seen")
    return _text(style)


def _style() -> Element:
    return Element("qgis", version=_VERSION, styleCategories="Symbology")


def _text(style: Element) -> str:
    indent(style)
    return _DOCTYPE + tostring(style, encoding="unicode") + "\n"
