"""The chart of how shares spread: by matplotlib, true to the figures, and only where it says something."""

from __future__ import annotations

import base64
import re

import pytest

from pipeline.classes import LabelSet
from stages.report.share_chart import share_svg
from tests.stages.report.test_page import page_of, panorama

TWO = LabelSet("two", ("road", "sky"), ((128, 64, 128), (0, 10, 255)), thin=())
SHARES = [(0.1 * n, 1 - 0.1 * n, 0.0) for n in range(5)]


def test_every_class_has_a_box_in_its_colour_the_largest_first() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `charts`): nothing is drawn")
    svg = share_svg(SHARES, TWO)
    assert re.findall(r">(sky|road)</text>", svg) == ["sky", "road"]
    assert re.findall(r"fill: (#0000ff|#000aff|#804080)", svg) == ["#000aff", "#804080"]
    assert svg == share_svg(SHARES, TWO) != share_svg(SHARES[::-1][1:], TWO)


def test_few_panoramas_have_the_table_alone_as_have_all_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `charts`): nothing is drawn")
    many = [panorama(name, shares=shares) for name, shares in zip("abcde", SHARES, strict=True)]
    (content,) = re.findall(r'class="drawn" src="data:image/svg\+xml;base64,([^"]*)"', page_of(*many))
    assert b"</svg>" in base64.b64decode(content)
    assert "lowest to highest" in page_of(*many[:4]) and 'class="drawn"' not in page_of(*many[:4])
    monkeypatch.setattr("stages.report.page.can_draw", lambda: False)
    assert 'class="drawn"' not in page_of(*many)
