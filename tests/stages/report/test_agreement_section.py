"""The section on how maps agree: sums over panoramas, means of differences, and nothing where nothing was compared."""

from __future__ import annotations

import re

import numpy as np

from stages.report.agreement import Agreement
from stages.report.agreement_section import agreement_html
from tests.stages.report_pages import Page

NAMES = {"labels": "labels", "student": "my <student>", "truth": "truth"}
ROAD, WALL = 0, 1


def agreement(student: int, *, truth: int | None = None) -> Agreement:
    """Of a panorama whose labels are all road."""
    one = np.zeros((8, 16), np.uint8)
    maps = {"labels": one, "student": one + np.uint8(student)}
    return Agreement.of(maps | ({} if truth is None else {"truth": one + np.uint8(truth)}), 2, 180)


def cells(html: str) -> list[list[str]]:
    """Cells of all rows but the heads."""
    rows = re.findall(r'<tr>(<th scope="row">.*?)</tr>', html)
    return [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in rows]


def test_differences_are_means_over_the_panoramas_that_have_the_map() -> None:
    html = agreement_html([agreement(WALL), agreement(ROAD), Agreement()], ["student"], NAMES, is_measured=False)
    assert cells(html) == [["my &lt;student&gt;", "50.0", "2"]]
    assert "my <student>" in Page(html).text and "By the truth" not in html


def test_the_truth_measures_all_panoramas_together_the_labels_first() -> None:
    both = [agreement(WALL, truth=WALL), agreement(ROAD, truth=ROAD)]
    first, second, *differs = cells(agreement_html(both, ["student", "truth"], NAMES, is_measured=False))
    assert first == ["labels", "25.0", "50.0", "100.0", "2"], "road is half right and wall is never found"
    assert second == ["my &lt;student&gt;", "100.0", "100.0", "100.0", "2"]
    assert [row[0] for row in differs] == ["my &lt;student&gt;", "truth"]


def test_what_another_section_has_measured_is_not_measured_again() -> None:
    html = agreement_html([agreement(WALL, truth=WALL)], ["student"], NAMES, is_measured=True)
    assert "By the truth" not in html and "differs from the labels" in html


def test_where_nothing_was_compared_there_is_no_section() -> None:
    assert agreement_html([Agreement()], ["student"], NAMES, is_measured=False) == ""
    assert agreement_html([], [], NAMES, is_measured=False) == ""
