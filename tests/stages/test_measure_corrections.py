"""Ensemble and student measured on corrections that were not learned from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import goodsam
from pipeline.recipe import merge_recipe
from stages.distill import distill
from stages.events import Event, Note, silent
from stages.measure_corrections import measure_corrections
from stages.predictor import Predictor, load_predictor
from stages.runs import Run
from tests.stages.small_run import read_product, small_run
from tests.stages.test_import_labels import Team, correct_all, with_corrections


@pytest.fixture
def team(finished: Path, tmp_path: Path) -> Team:
    """With corrections of all four panoramas, of which the one to evaluate on is held out."""
    shutil.copytree(finished, tmp_path / "run")
    team = Team(small_run(tmp_path / "run"), tmp_path / "work")
    correct_all(team)
    return team


def test_without_corrections_nothing_is_measured(finished: Path) -> None:
    assert measure_corrections(small_run(finished), None, silent) == ""


def test_ensemble_and_its_reliable_part_are_measured_at_the_corrected_pixels(team: Team) -> None:
    run, events = with_corrections(team, corrections_held_out=0.0), list[Event]()
    table = measure_corrections(run, None, events.append)
    record = json.loads((run.evaluation / "corrections.json").read_text())
    assert (record["panoramas"], record["learned_from"], events) == (1, 3, [])
    cached = read_product(run, "ensemble", "evaluation/9")
    seen, reliable = (~cached["ignored"].astype(bool))[40:], cached["reliability"].astype(bool)[40:]
    is_road = cached["ensemble_labels"][40:] == 0
    assert record["rungs"]["ensemble"]["pixel_accuracy"] == pytest.approx(is_road[seen].mean())
    assert record["rungs"]["ensemble reliable"]["coverage"] == pytest.approx((reliable & seen).sum() / seen.sum())
    assert set(record["rungs"]) == {"ensemble", "ensemble reliable"}, "there is no student"
    first, head, *rows = table.splitlines()
    assert first.startswith("On the corrections of 1 panorama that were not learned from") and "mIoU, %" in head
    accuracy = 100 * float(is_road[seen].mean())
    assert len(rows) == 2 and rows[0].startswith("ensemble ") and f"{accuracy:.1f}" in rows[0]


def test_corrections_of_unknown_pictures_are_counted(team: Team) -> None:
    (Path(team.run.recipe.data.panoramas) / "1.png").unlink()
    events: list[Event] = []
    measure_corrections(with_corrections(team, corrections_held_out=0.0), None, events.append)
    assert "1 correction left out: the cache does not have the picture" in " ".join(
        event.text for event in events if isinstance(event, Note)
    )


def test_no_held_out_corrections_are_reported(team: Team) -> None:
    (team.corrections / "evaluation" / "9.png").unlink()
    events: list[Event] = []
    assert measure_corrections(with_corrections(team, corrections_held_out=0.0), None, events.append) == ""
    assert any(
        isinstance(event, Note) and "none of 3 corrected panoramas is held out" in event.text for event in events
    )


@pytest.mark.slow
def test_the_student_of_the_ladder_is_measured_not_the_latest(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Path] = []

    def load(folder: Path, device: str) -> Predictor:
        measured.append(folder)
        return load_predictor(folder, device)

    monkeypatch.setattr("stages.evaluate.load_predictor", load)
    monkeypatch.setattr("stages.measure_corrections.load_predictor", load)
    one = with_corrections(team, 0.0, student={"seed": 1})
    validated = with_corrections(team, 0.0, distill={"validation": 1, "validate_every": 2})
    first = distill(one, silent)
    distill(validated, silent)
    goodsam.evaluate(one, silent, device="cpu")
    assert measured == [first, first]
    assert learned_from(one) == 3
    measured.clear()
    best = replace(validated, recipe=merge_recipe(validated.recipe, {"evaluation": {"checkpoint": "best"}}))
    goodsam.evaluate(best, silent, device="cpu")
    assert [folder.name for folder in measured] == ["best", "best"]
    assert learned_from(best) == 2, "the panorama of the validation is not learned from"


def learned_from(run: Run) -> int:
    return json.loads((run.evaluation / "corrections.json").read_text())["learned_from"]
