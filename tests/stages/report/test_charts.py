"""Charts and the map: true to their figures, named for people who do not see them, and closed against odd names."""

from __future__ import annotations

import math
import re
from xml.etree.ElementTree import fromstring

import pytest

from pipeline.classes import LabelSet
from stages.report.charts import bar_table, class_colour, map_of, percent, shares_in_words, stacked_bar

TWO = LabelSet("two", ("road", "<b> & wall"), ((128, 64, 128), (0, 10, 255)), thin=())
SHARES = (0.25, 0.624, 0.126)
"""Of both classes, and what was not seen."""


def test_colours_and_shares_are_written_as_pages_have_them() -> None:
    assert [class_colour(TWO, number) for number in (0, 1)] == ["#804080", "#000aff"]
    assert percent(0.4213) == "42.1 %" and percent(1) == "100.0 %"


def test_shares_in_words_name_the_largest_first_and_leave_crumbs_out() -> None:
    assert shares_in_words(SHARES, TWO) == "<b> & wall 62.4 %, road 25.0 %, not seen 12.6 %"
    assert shares_in_words((0.004, 0.996, 0.0), TWO) == "<b> & wall 99.6 %"


def test_a_stacked_bar_is_as_wide_as_its_shares_without_gaps() -> None:
    chart = fromstring(stacked_bar(SHARES, TWO))
    (bars,) = chart
    places = [(float(bar.attrib.get("x", 0)), float(bar.attrib["width"]), bar.attrib["fill"]) for bar in bars]
    assert places == [(0.0, 25.0, "#804080"), (25.0, 62.4, "#000aff"), (87.4, 12.6, "#000000")]
    assert [title.text for bar in bars for title in bar] == ["road 25.0 %", "<b> & wall 62.4 %", "not seen 12.6 %"]
    assert "<b> & wall 62.4 %" in chart.attrib["aria-label"]
    (hidden,) = fromstring(stacked_bar((0.0, 1.0, 0.0), TWO))
    assert [bar.attrib["fill"] for bar in hidden] == ["#000aff"]


def test_bars_are_sorted_and_as_long_as_their_shares() -> None:
    chart = fromstring(bar_table([SHARES, (0.35, 0.424, 0.226)], TWO, "All <panoramas>"))
    assert ["|".join(row.itertext()) for row in chart.iter("tr")] == [
        "class|mean|lowest to highest", "<b> & wall|52.4 %|42.4 to 62.4 %", "road|30.0 %|25.0 to 35.0 %",
    ]  # fmt: skip
    assert [bar.attrib["style"] for bar in chart.iter("span")] == ["width:60.0%;background:#000aff",
                                                                   "width:34.4%;background:#804080"]  # fmt: skip
    assert [title.text for title in chart.iter("caption")] == ["All <panoramas>"]
    nothing = fromstring(bar_table([(0.0, 0.0, 1.0)], TWO, "nothing seen"))
    assert all(bar.attrib["style"].startswith("width:0.0%") for bar in nothing.iter("span"))


def test_points_lie_north_up_true_to_scale_and_together_at_the_date_line() -> None:
    svg = map_of([(0, 0.0, 179.999), (1, 0.001, -179.999)], ["west", "east <b>"])
    (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg))
    assert x1 > x0 and y1 < y0
    assert (x1 - x0) / (y0 - y1) == pytest.approx(2, rel=0.01)
    assert "east &lt;b&gt;" in svg and re.search(r"\d+ m</text>", svg)


@pytest.mark.parametrize(("metres", "words"), [(0.0, "5 m"), (150.0, "50 m"), (4000.0, "1 km"), (100_000.0, "20 km")])
def test_the_maps_scale_is_a_round_length_drawn_to_scale(metres: float, words: str) -> None:
    degrees = math.degrees(metres / 6371008.8)
    svg = map_of([(0, 48.0, 11.0), (1, 48.0 + degrees, 11.0)], ["a", "b"])
    assert f">{words}</text>" in svg
    if metres:
        south, north = (float(y) for y in re.findall(r'cy="([\d.]+)"', svg))
        drawn = float(re.findall(r"h([\d.]+)v-5", svg)[0])
        length = float(words.split()[0]) * (1000 if "km" in words else 1)
        assert drawn / (south - north) == pytest.approx(length / metres, rel=0.01)


def test_points_name_their_panorama_and_lie_inside_the_map() -> None:
    points = [(2, 48.1, 11.5), (0, 48.2, 11.9)]
    circles = [element for element in fromstring(map_of(points, ["a", "b", 'c "&"'])) if element.tag == "circle"]
    assert [(c.attrib["data-panorama"], [t.text for t in c]) for c in circles] == [("2", ['c "&"']), ("0", ["a"])]
    for circle in circles:
        assert 24 <= float(circle.attrib["cx"]) <= 876 and 24 <= float(circle.attrib["cy"]) <= 436
