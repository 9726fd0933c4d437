"""What was measured, for people: with and without labels, with its cautions, and escaped."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.report import MACHINE_LABELS, PARTIAL_COVERAGE
from stages.report.evaluation import evaluation_html
from tests.stages.report_pages import Page

AGREEMENT = {"images": 1, "window_agreement": 0.75, "coverage": {"ensemble": 1.0}, "class_shares": {},
             "pairwise": [{"rungs": ["ensemble", "student"], "agreement": 0.875}], "seam": {"ensemble": 0.05},
             "neighbours": {"ensemble": 0.03}}  # fmt: skip


def rung(name: str = "student_start", **changes: object) -> dict[str, object]:
    own = {"name": name, "miou": 0.5, "miou_solid_angle": 0.4, "coverage": 1.0, "pixel_accuracy": 0.9,
           "per_class_iou": {"road": None}, "miou_interval": [0.4, 0.6]}  # fmt: skip
    return own | changes


def section(folder: Path, *rungs: dict[str, object], **more: object) -> str:
    (folder / "metrics.json").write_text(json.dumps({"ladder": rungs, "agreement": AGREEMENT} | more))
    return evaluation_html(folder)


def test_the_ladder_is_drawn_where_matplotlib_is_installed_and_else_it_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, without = "data:image/svg+xml;base64,", "pip install -e &#x27;.[charts]&#x27;"
    html = section(tmp_path, rung())
    assert drawn in html and without not in html
    monkeypatch.setattr("stages.report.evaluation.can_draw", lambda: False)
    html = evaluation_html(tmp_path)
    assert without in html and drawn not in html


def test_an_evaluation_is_told_with_and_without_labels(tmp_path: Path) -> None:
    assert evaluation_html(tmp_path) == ""
    page = Page(section(tmp_path, rung()))
    for told in ("student start", "50.0", "40.0 to 60.0", "same label in 75.0 %", "ensemble and student", "87.5"):
        assert told in page.text
    (pairs,) = re.findall("<details>.*</details>", section(tmp_path, rung()))  # one row for every two steps: folded
    assert "ensemble and student" in pairs and "student start" not in pairs
    without = section(tmp_path)
    assert "There are no labels" in without and "`" not in without


def test_rungs_that_leave_pixels_out_and_labels_of_a_network_come_with_a_caution(tmp_path: Path) -> None:
    whole = Page(section(tmp_path, rung())).text
    partial = Page(section(tmp_path, rung(coverage=0.8), labels_by="network")).text
    assert PARTIAL_COVERAGE not in whole and MACHINE_LABELS.replace("`", "") not in whole
    assert PARTIAL_COVERAGE in partial and MACHINE_LABELS.replace("`", "") in partial


def test_what_could_not_be_measured_is_left_open(tmp_path: Path) -> None:
    agreement = AGREEMENT | {"window_agreement": None, "pairwise": []}
    text = Page(section(tmp_path, rung(miou_interval=[None, None]), agreement=agreement)).text
    assert "Where windows overlap" not in text and "Agreement of two steps" not in text
    assert "nan" not in text


def test_names_of_rungs_are_escaped(tmp_path: Path) -> None:
    assert "<script>" in Page(section(tmp_path, rung("<script>"))).text


@pytest.mark.parametrize("content", ["", "[]", '{"ladder": []}', '{"ladder": [{}], "agreement": {}}'])
def test_a_damaged_evaluation_is_one_sentence_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(InputError, match=r"metrics\.json is damaged.*Run `goodsam eval` again"):
        evaluation_html(tmp_path)
