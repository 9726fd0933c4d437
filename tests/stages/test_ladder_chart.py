"""The ladder as an SVG picture: one mark per rung, with its interval where there is one, equal for equal figures."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipeline.evaluate.ladder import Rung
from stages.ladder_chart import ladder_svg

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `charts`): the ladder is not drawn")
BLEND = Rung("assistant_blend", 0.6, 0.5, (), 1.0, 0.9, (0.5, 0.7))
RELIABLE = Rung("ensemble_reliable", 0.75, 0.5, (), 0.8, 0.9)


def test_rungs_are_named_and_those_that_leave_out_pixels_are_hollow() -> None:
    svg = ladder_svg([BLEND, RELIABLE])
    texts = {(found.text or "").strip() for found in ElementTree.fromstring(svg).iter() if found.tag.endswith("text")}
    assert {"assistant blend", "ensemble reliable", "60.0", "75.0"} < texts
    interval = "stroke: #1b6ca8; stroke-width: 2"
    assert svg.count(interval) == 1 and interval not in ladder_svg([RELIABLE]), "it has none"
    hollow = "fill-opacity: 0"
    assert svg.count(hollow) == 1 and hollow not in ladder_svg([BLEND])


def test_equal_figures_give_equal_files() -> None:
    assert ladder_svg([BLEND, RELIABLE]) == ladder_svg([BLEND, RELIABLE])
