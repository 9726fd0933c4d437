"""`goodsam train-assistant` makes a job of its options, and says how a recipe names what was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.errors import InputError
from stages.cli import app
from stages.train_assistant import AssistantJob, TrainedAssistant
from tests.stages.test_train_assistant import pair


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AssistantJob]:
    """Trainings that are begun in the folder of the test, on pictures of CamVid; none is done."""
    begun: list[AssistantJob] = []

    def train(job: AssistantJob, _: object) -> TrainedAssistant:
        begun.append(job)
        return TrainedAssistant(job.folder, {"miou": 0.5, "iou": {"sky": 0.5}, "measured_on": 1})

    monkeypatch.chdir(tmp_path)
    for part in ("train", "val"):
        pair(tmp_path / "data" / part / "1.png", tmp_path / "data" / f"{part}annot" / "1.png", 0, 1)
    monkeypatch.setattr("stages.train_assistant.train_assistant", train)
    return begun


def train(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train-assistant", *arguments])


@pytest.mark.usefixtures("one_thread")
def test_options_become_the_training_and_the_recipes_lines_are_printed(jobs: list[AssistantJob]) -> None:
    done = train("data", "out", "--start", "demo", "--steps", "7", "--batch-size", "2", "--crop", "64",
                 "--learning-rate", "0.1", "--seed", "3", "--device", "cpu", "--threads", "1")  # fmt: skip
    assert done.exit_code == 0, done.output
    (job,) = jobs
    training = job.training
    assert (training.start, training.steps, training.batch_size, training.crop) == ("demo", 7, 2, 64)
    assert (training.learning_rate, training.seed, job.device) == (0.1, 3, "cpu")
    assert "mIoU" in done.stdout and done.stdout.splitlines()[-1] == (
        f'assistant: out (assistant.kind = "transformers", assistant.name = "{Path("out").absolute()}", '
        'assistant.label_set = "camvid11")'
    )


@pytest.mark.usefixtures("one_thread")
def test_without_options_it_is_the_published_start_and_the_data_sets_own_classes(jobs: list[AssistantJob]) -> None:
    assert train("data", "out", "--device", "cpu").exit_code == 0
    (job,) = jobs
    assert (job.training.start, job.training.steps, job.label_set.name) == ("nvidia/mit-b5", 40_000, "camvid11")
    assert train("data", "out", "--device", "cpu", "--label-set", "densepass13").exit_code == 0
    assert jobs[1].label_set.name == "densepass13"


def test_a_folder_of_no_known_layout_is_refused(jobs: list[AssistantJob], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = train("empty", "out")
    assert isinstance(done.exception, InputError) and "none of the known layouts" in str(done.exception)
    assert jobs == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--steps", "--batch-size", "--crop"])
def test_numbers_out_of_range_are_refused(jobs: list[AssistantJob], option: str) -> None:
    done = train("data", "out", option, "0")
    assert done.exit_code == 2 and jobs == []
