"""Validation during training: what is held out, what is measured and told, and the best checkpoint beside the last."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import InputError, RecipeError
from pipeline.settings import fingerprint
from stages.distill import distill, distill_job
from stages.evaluate import evaluate
from stages.events import Event, Note, Scalars, silent
from stages.files import digest
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.validation import AGREEMENT, AGREEMENT_MIOU, MIOU, PURITY, SHOWN_MIOU, RunValidation, hold_out
from tests.stages.small_run import small_run

pytestmark = pytest.mark.usefixtures("one_thread")


def validated_run(folder: Path, **tables: dict[str, Any]) -> Run:
    training: dict[str, Any] = {"steps": 2, "validation": 1, "validate_every": 1, **tables.pop("distill", {})}
    return small_run(folder, distill=training, evaluation={"overlays": 0, **tables.pop("evaluation", {})}, **tables)


def opened(run: Run) -> RunReader:
    return RunReader.open(run, learning_panoramas(run.recipe))


def test_what_is_held_out_is_not_learned_from_and_stays_the_same(finished: Path) -> None:
    reader = opened(validated_run(finished))
    learning, held_out = hold_out(reader, 1)
    assert held_out is not None
    assert set(learning.ids) | set(held_out.ids) == set(reader.ids)
    assert len(held_out.ids) == 1 and len(learning.ids) == 2
    again, fewer = hold_out(reader, 1)[1], hold_out(learning, 1)[0]
    assert again is not None and again.ids == held_out.ids
    assert set(fewer.ids) < set(learning.ids)
    job = distill_job(validated_run(finished), reader)
    assert job.ids == learning.ids
    assert hold_out(reader, 0) == (reader, None)


def test_copies_of_a_picture_are_held_out_together(finished: Path) -> None:
    reader = opened(validated_run(finished))
    held_out = hold_out(reader, 1)[1]
    assert held_out is not None
    (first,) = held_out.ids
    twice = replace(reader, records={**reader.records, "panoramas/copy": reader.records[first]},
                    paths={**reader.paths, "panoramas/copy": reader.paths[first]})  # fmt: skip
    learning, both = hold_out(twice, 1)
    assert both is not None
    assert set(both.ids) == {first, "panoramas/copy"}
    assert first not in learning.ids


def test_some_panoramas_must_be_left_to_learn_from(finished: Path) -> None:
    with pytest.raises(RecipeError, match=r"validation is 3, and 3 different panoramas .* must be left to train on"):
        hold_out(opened(validated_run(finished)), 3)


def test_a_run_is_validated_without_labels_and_eval_says_which_checkpoint_it_measures(own_finished: Path) -> None:
    run, events = validated_run(own_finished), list[Event]()
    student = distill(run, events.append)
    figures = [
        event.values for event in events if isinstance(event, Scalars) if f"validation_{AGREEMENT}" in event.values
    ]
    assert len(figures) == 2
    names = {f"validation_{name}" for name in (AGREEMENT, AGREEMENT_MIOU, PURITY, SHOWN_MIOU)}
    assert all(set(own) == names and all(0 <= value <= 1 for value in own.values()) for own in figures)
    notes = [event.text for event in events if isinstance(event, Note)]
    assert "training on 2 panoramas; 1 held out, for validation every 1 steps by agreement_miou" in notes
    assert list((student.parent / "tensorboard").iterdir())
    step = json.loads((student.parent / "validation.json").read_text())["best_step"]

    assert "The student is that of step 2 of 2, its last checkpoint." in evaluate(run, silent).table
    best = evaluate(validated_run(own_finished, evaluation={"checkpoint": "best"}), silent)
    sentence = f"The student is that of step {step} of 2, its best checkpoint, chosen on panoramas held out"
    assert sentence in best.table
    assert sentence in (best.folder / "ladder.md").read_text()


def test_labels_of_panoramas_held_out_choose_and_those_of_evaluation_do_not(own_finished: Path) -> None:
    for seed in (0, 1, 2):
        shutil.copy(own_finished / "labels" / "9.png", own_finished / "labels" / f"{seed}.png")
    run = validated_run(own_finished, data={"evaluation": ""})
    job = distill_job(run, opened(run))
    assert job.validation is not None
    assert job.validation.chosen_by == MIOU
    assert MIOU in job.validation.measure(lambda image_HW3: torch.rand(13, 16, 32).numpy())
    run = validated_run(own_finished)
    job = distill_job(run, opened(run))
    assert job.validation is not None
    assert job.validation.chosen_by == AGREEMENT_MIOU
    assert job.validation.facts["shown"] == ["evaluation/9"]


def test_labels_that_are_read_otherwise_choose_another_checkpoint(own_finished: Path) -> None:
    for seed in (0, 1, 2):
        shutil.copy(own_finished / "labels" / "9.png", own_finished / "labels" / f"{seed}.png")
    index = own_finished / "index.json"

    def chosen(**data: Any) -> str:
        run = validated_run(own_finished, data={"evaluation": "", **data})
        job = distill_job(run, opened(run))
        assert job.validation is not None
        return job.validation.fingerprint

    index.write_text('["wall"]')
    first = chosen(labels_index=str(index))
    index.write_text('["fence"]')
    readings = [chosen(), chosen(labels_from_one=True), chosen(labels_set="cityscapes19"), first,
                chosen(labels_index=str(index))]  # fmt: skip
    assert len(set(readings)) == len(readings)
    assert chosen(labels_from_one=False, labels_set="densepass13") == chosen()
    unlabelled = [chosen(labels="", **data) for data in ({}, {"labels_from_one": True})]
    assert unlabelled[0] == unlabelled[1], "nothing is read"


def test_students_of_the_usual_reading_keep_their_names(own_finished: Path) -> None:
    shutil.copy(own_finished / "labels" / "9.png", own_finished / "labels" / "0.png")
    run = validated_run(own_finished, data={"evaluation": ""}, distill={"validation": 2})
    validation = distill_job(run, opened(run)).validation
    assert isinstance(validation, RunValidation) and validation.labels
    labels = sorted((panorama_id, digest(path)) for panorama_id, path in validation.labels.items())
    content = validation.held_out.content_fingerprint()
    assert validation.fingerprint == fingerprint(1, MIOU, content, labels)


def test_a_best_checkpoint_that_was_never_chosen_is_asked_for(own_finished: Path) -> None:
    run = small_run(own_finished, distill={"steps": 1}, evaluation={"checkpoint": "best", "overlays": 0})
    distill(run, silent)
    with pytest.raises(InputError, match=r"was not validated.*Set distill\.validation"):
        evaluate(run, silent)
