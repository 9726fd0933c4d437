"""Figures of the study from confusion matrices, and its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.evidence.__main__ import write
from scripts.evidence.study import PARTS
from scripts.evidence.tables import change, figures, losers, markdown, seeds_record
from tests.scripts.evidence.confusions import IDS, matrices


def test_figures_are_percent_of_all_and_of_each_range() -> None:
    found = figures(matrices(0.5, 1.0, 1.0), IDS, labelled=1200)
    assert found["pixels"] == pytest.approx(250 / 3)
    assert found["coverage"] == pytest.approx(50)
    assert found["miou of ranges"] == pytest.approx({"A": 60, "B": 100})
    assert found["spread of ranges"] == pytest.approx(np.std([60, 100], ddof=1))


def test_seeds_are_averaged_and_their_spread_is_told() -> None:
    found = seeds_record([matrices(1, 1, 1), matrices(0.5, 0.5, 0.5)], IDS)
    assert found["miou of seeds"] == pytest.approx([100, 100 / 3])
    assert (found["miou"], found["pixels"]) == pytest.approx((200 / 3, 75))
    assert found["spread of seeds"] == pytest.approx(np.std([100, 100 / 3], ddof=1))


def test_changes_are_paired_and_losers_named() -> None:
    low, high = change(matrices(0.5, 0.6, 0.7), matrices(0.6, 0.7, 0.8))
    assert 0 < low < high < 20
    lost = losers(["road", "car"], matrices(0.9, 0.9), matrices(0.8, 0.7))
    assert list(lost) == ["road", "car"]
    assert all(low < points < high < 0 for points, low, high in lost.values())
    assert losers(["road", "car"], matrices(0.8, 0.8), matrices(0.799, 0.8)) == {}


def test_tables_have_a_row_for_each_variant_with_and_without_students(tmp_path: Path) -> None:
    ensemble = figures(matrices(0.5, 1, 1), IDS)
    row = {"ensemble": ensemble | {"change": []}, "classes that lose": {"wall": -2.25, "road": [-1.5, -4.0, 1.0]},
           "student": None}  # fmt: skip
    taught = {"ensemble": ensemble | {"change": [0.5, 1.5], "change from the blend": [0.25, 1.25]},
              "classes that lose": {},
              "student": seeds_record([matrices(1, 1, 1)], IDS) | {"change": [-1.0, 2.0]}}  # fmt: skip
    record = {"rungs": {"ensemble": ensemble}, "rows": {"first": row, "second": taught}}
    write(tmp_path, "fusion", record)
    write(tmp_path, "ladder", record)
    text = (tmp_path / "evidence.md").read_text()
    assert text.index("### The ladder") < text.index("### Fusion"), "in the order of the study"
    first, second, *_ = (line for line in text.splitlines() if line.startswith(("| first", "| second")))
    assert (
        first.startswith("| first |")
        and "wall -2.2, road -1.5 (-4.0 to +1.0)" in first
        and first.count("|") == second.count("|")
    )
    assert "+0.2 to +1.2 | +0.5 to +1.5" in second and "-1.0 to +2.0" in second and "| none |" in second
    picture = (tmp_path / "fusion.svg").read_text()
    assert all(word in picture for word in (">first<", ">second<", PARTS["fusion"].title))
    write(tmp_path, "fusion", record)
    assert (tmp_path / "fusion.svg").read_text() == picture
    assert markdown(PARTS, {"ladder": record}).count("| ensemble |") == 1
