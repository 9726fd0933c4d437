"""Validation during training: what is held out, what is measured and told, and the best checkpoint beside the last."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.errors import InputError, RecipeError
from pipeline.student.model import load_student
from stages.distill import distill, distill_job
from stages.evaluate import evaluate
from stages.events import Event, Note, Scalars, silent
from stages.reading import RunReader
from stages.runs import Run
from stages.splits import learning_panoramas
from stages.training import train_student
from stages.validation import AGREEMENT, AGREEMENT_MIOU, MIOU, PURITY, SHOWN_MIOU, Predict, hold_out
from tests.stages.small_run import small_run
from tests.stages.test_training import STEPS, stop_at, toy_job, weights
from tests.student.toy import toy_sample


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums are bit for bit the same only with the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Scripted:
    """A validation whose figures are known beforehand; it predicts a panorama all the same."""

    values: Mapping[int, float]
    """By number of the validation, from 1."""
    every: int = 4
    chosen_by: str = "figure"
    fingerprint: str = "scripted"
    facts: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"held_out": ("9",)})
    asked: list[float] = field(default_factory=list[float])

    def measure(self, predict: Predict) -> dict[str, float]:
        self.asked.append(float(predict(toy_sample(9).image_HW3).mean()))
        return {"figure": self.values[len(self.asked)]}


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A training whose second validation, after step 8, is its best."""
    folder, events = tmp_path_factory.mktemp("validated"), list[Event]()
    train_student(toy_job(folder, validation=Scripted({1: 0.2, 2: 0.7, 3: 0.6})), events.append)
    return folder, events


def test_validation_changes_nothing_of_the_training(validated: tuple[Path, list[Event]], tmp_path: Path) -> None:
    train_student(toy_job(tmp_path), silent)
    plain, watched = weights(tmp_path), weights(validated[0])
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_the_best_checkpoint_lies_beside_the_last(validated: tuple[Path, list[Event]]) -> None:
    folder = next(validated[0].iterdir())
    best, last = (json.loads((folder / name / "training.json").read_text()) for name in ("best", "final"))
    assert (best["steps"], last["steps"]) == (8, STEPS)
    assert best["validation"] == {"held_out": 1, "step": 8, "figure": 0.7}
    kept, final = (load_file(folder / name / "model.safetensors") for name in ("best", "final"))
    assert any(not torch.equal(kept[name], final[name]) for name in kept)
    assert load_student(folder / "best").config.num_labels == 3


def test_figures_are_told_drawn_and_written(validated: tuple[Path, list[Event]]) -> None:
    folder, events = validated
    told = [
        (event.step, event.values)
        for event in events
        if isinstance(event, Scalars)
        if "validation_figure" in event.values
    ]
    assert told == [(4, {"validation_figure": 0.2}), (8, {"validation_figure": 0.7}), (12, {"validation_figure": 0.6})]
    student = next(folder.iterdir())
    record = json.loads((student / "validation.json").read_text())
    assert (record["chosen_by"], record["best_step"]) == ("figure", 8)
    assert [point["step"] for point in record["figures"]] == [4, 8, 12]
    assert Image.open(student / "validation.png").size == (800, 420)
    (note,) = [event.text for event in events if isinstance(event, Note) if "held out" in event.text]
    assert "figure 70.0 % after step 8, 60.0 % after the last" in note


def test_a_training_that_goes_on_knows_its_earlier_figures(tmp_path: Path) -> None:
    before = Scripted({1: 0.9, 2: 0.5})
    with pytest.raises(KeyboardInterrupt):
        train_student(toy_job(tmp_path, validation=before), stop_at(9))  # the checkpoint is of step 5
    after = Scripted({1: 0.5, 2: 0.6})
    train_student(toy_job(tmp_path, validation=after), silent)
    (folder,) = tmp_path.iterdir()
    record = json.loads((folder / "validation.json").read_text())
    assert [(point["step"], point["figure"]) for point in record["figures"]] == [(4, 0.9), (8, 0.5), (12, 0.6)]
    assert json.loads((folder / "best" / "training.json").read_text())["steps"] == 4
    assert after.asked[0] == before.asked[1]  # step 8 comes out the same


def test_settings_of_validation_are_part_of_the_name_only_where_there_is_one(tmp_path: Path) -> None:
    name = toy_job(tmp_path).fingerprint
    assert toy_job(tmp_path, distill={"validate_every": 3}).fingerprint == name
    assert toy_job(tmp_path, validation=Scripted({})).fingerprint != name


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
    with pytest.raises(RecipeError, match=r"validation is 3, and 3 different panoramas .* must be left to learn from"):
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
    assert "learning from 2 panoramas; 1 held out, for validation every 1 steps by agreement_miou" in notes
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


def test_a_best_checkpoint_that_was_never_chosen_is_asked_for(own_finished: Path) -> None:
    run = small_run(own_finished, distill={"steps": 1}, evaluation={"checkpoint": "best", "overlays": 0})
    distill(run, silent)
    with pytest.raises(InputError, match=r"was not validated.*Set distill\.validation"):
        evaluate(run, silent)
