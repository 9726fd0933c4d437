"""A student that is validated while it learns: figures are told and drawn, and the best is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.errors import GoodSAMError
from pipeline.student.data import TrainingSet
from pipeline.student.model import load_student
from stages.events import Event, Note, Scalars, silent
from stages.progress import Progress
from stages.trainee import prepare
from stages.training import train_student
from stages.validating import best_of, is_due, validate
from stages.validation import Predict
from tests.stages.test_training import STEPS, stop_at, toy_job, weights
from tests.student.toy import HEIGHT, WIDTH, toy_sample

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_student_is_validated_at_every_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    job = toy_job(tmp_path, validation=Scripted({}, every=5))
    assert [step for step in range(1, STEPS + 1) if is_due(job, step)] == [5, 10, STEPS]
    assert not any(is_due(toy_job(tmp_path), step) for step in range(1, STEPS + 1))


def test_of_equal_figures_the_first_is_the_best() -> None:
    validated = [{"step": 4.0, "figure": 0.5}, {"step": 8.0, "figure": 0.75}, {"step": 12.0, "figure": 0.75}]
    assert best_of(validated, "figure")["step"] == 8


def test_without_the_figure_that_chooses_it_is_an_error_and_the_student_goes_on_training(tmp_path: Path) -> None:
    job = toy_job(tmp_path, validation=Scripted({1: 0.5}, chosen_by="purity"))
    training = prepare(job, TrainingSet(job.ids, job.read_sample, job.distill, job.losses.stride, job.seed).sample(0))
    assert training.student.training
    with pytest.raises(GoodSAMError, match=r"'purity' cannot be measured.*distill\.validation"):
        validate(job, training, (HEIGHT, WIDTH), Progress(steps=4), "distill", silent)
    assert training.student.training, "dropout stays on"
    assert not job.folder.best.exists()
