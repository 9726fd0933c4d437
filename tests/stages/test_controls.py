"""Controls of a run: which are computed, from what, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecipeError
from pipeline.teacher import superpixels
from stages.controls import RunControls
from stages.evaluate import evaluate
from stages.events import Event, Note, silent
from stages.reading import RunReader
from stages.splits import evaluation_panoramas
from tests.stages.small_run import small_run


@pytest.mark.slow
def test_an_evaluation_has_the_controls_as_rungs_but_not_among_the_figures_without_labels(own_finished: Path) -> None:
    names = ["sam_only", "superpixels", "oracle"]
    run = small_run(own_finished, evaluation={"controls": names, "overlays": 0})
    metrics = evaluate(run, silent).metrics
    rungs = {record["name"]: record for record in metrics["ladder"]}
    assert list(rungs)[-3:] == names
    assert 0 < rungs["sam_only"]["coverage"] < 1 and rungs["oracle"]["coverage"] == 1
    assert rungs["oracle"]["pixel_accuracy"] >= rungs["ensemble"]["pixel_accuracy"]
    assert not set(names) & set(metrics["agreement"]["coverage"])


@pytest.mark.slow
def test_what_is_not_installed_is_skipped_and_reported(own_finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(superpixels, "is_available", lambda: False)
    run = small_run(own_finished, evaluation={"controls": ["superpixels", "oracle"], "overlays": 0})
    events: list[Event] = []
    evaluation = evaluate(run, events.append)
    assert evaluation.metrics["ladder"][-1]["name"] == "oracle"
    assert list(evaluation.metrics["skipped_controls"]) == ["superpixels"]
    notes = [event.text for event in events if isinstance(event, Note)]
    assert "the control superpixels is skipped: scikit-image is not installed (run `pip install scikit-image`)" in notes


@pytest.mark.slow
def test_controls_without_labels_are_told(own_finished: Path) -> None:
    run = small_run(own_finished, evaluation={"controls": ["oracle"], "overlays": 0}, data={"labels": ""})
    events: list[Event] = []
    evaluate(run, events.append)
    assert any("data.labels is empty" in event.text for event in events if isinstance(event, Note))


def test_none_are_computed_unless_asked_for(finished: Path) -> None:
    run = small_run(finished)
    reader = RunReader.open(run, evaluation_panoramas(run.recipe))
    (id_,) = reader.ids
    nothing = np.zeros((1, 1), np.uint8)
    assert RunControls(reader)(id_, reader.image(id_), reader.teacher(id_), nothing) == {}


def test_an_unknown_control_is_refused(finished: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.controls is 'sam'"):
        small_run(finished, evaluation={"controls": ["sam"]})
