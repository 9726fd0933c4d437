"""Parts of the study as pictures: every row is drawn where its figures say, and equal figures give equal files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scripts.evidence.__main__ import write
from scripts.evidence.plots import plot
from scripts.evidence.study import PARTS, Part
from scripts.evidence.tables import figures, markdown, seeds_record
from tests.scripts.evidence.confusions import IDS, matrices


def record_of(*rows: tuple[str, float, dict[str, Any]]) -> dict[str, Any]:
    return {"rows": {name: {"ensemble": {"miou": miou}, "student": None} | more for name, miou, more in rows}}


def drawn(part: Part, record: dict[str, Any], folder: Path) -> str:
    plot(part, record, folder / "part.svg")
    return (folder / "part.svg").read_text()


def test_rows_are_named_below_each_other_with_a_legend_and_drawn_alike_again(tmp_path: Path) -> None:
    part, student = Part("Fusion & more", "What?", ()), {"student": {"miou of seeds": [50.0, 52.0], "miou": 51.0}}
    record = record_of(("first", 60.0, student), ("second", 62.0, {}))
    picture = drawn(part, record, tmp_path)
    for word in (">first<", ">second<", ">Fusion &amp; more<", ">ensemble<", ">student, each seed<"):
        assert word in picture, word
    assert picture.index(">first<") < picture.index(">second<")
    assert drawn(part, record, tmp_path) == picture
    assert ">student, each seed<" not in drawn(part, record_of(("first", 60.0, {})), tmp_path)


def test_ensembles_are_drawn_over_their_cost_each_with_its_name(tmp_path: Path) -> None:
    record = record_of(("cheap", 60.0, {"seconds": 2.0}), ("dear", 62.0, {"seconds": 9.0}))
    picture = drawn(Part("Cost", "What?", (), over="seconds"), record, tmp_path)
    assert all(word in picture for word in (">cheap<", ">dear<", ">stage one, s per panorama<"))


def test_students_without_a_seed_are_left_out_of_the_line_over_steps(tmp_path: Path) -> None:
    student = {"student": {"miou of seeds": [50.0], "miou": 50.0}}
    record = record_of(("80 steps", 60.0, {"steps": 80, **student}), ("999 steps", 60.0, {"steps": 999}))
    picture = drawn(Part("Steps", "What?", (), over="steps"), record, tmp_path)
    assert ">80<" in picture and ">999<" not in picture


def test_students_over_steps_are_a_line(tmp_path: Path) -> None:
    ensemble = figures(matrices(0.5, 1, 1), IDS) | {"change": []}
    rows = {
        f"{steps} steps": {"ensemble": ensemble, "classes that lose": {}, "steps": steps,
                           "student": seeds_record([matrices(right, 1, 1)], IDS) | {"change": []}}
        for steps, right in ((320, 0.8), (80, 0.6))
    }  # fmt: skip
    write(tmp_path, "steps", {"rows": rows})
    assert ">320<" in (tmp_path / "steps.svg").read_text()
    assert "| 80 steps | 80 |" in (tmp_path / "evidence.md").read_text()
    del rows["80 steps"]["steps"]  # as earlier studies have written it
    assert "| 80 steps |  |" in markdown(PARTS, {"steps": {"rows": rows}})
