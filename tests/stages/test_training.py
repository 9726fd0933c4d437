from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.classes import LabelSet
from pipeline.errors import CacheError, GoodSAMError, InputError, WeightsError
from pipeline.student.config import LOSSES, DistillConfig, LossConfig, StudentConfig
from pipeline.student.data import TrainingSet
from pipeline.student.model import load_student, save_student, start_student
from pipeline.student.sample import PanoramaSample
from stages.checkpoints import save_checkpoint
from stages.distill_job import DistillJob
from stages.events import Event, ItemFailed, Note, Scalars, StageAdvanced, StageFinished, StageStarted, silent
from stages.trainee import prepare
from stages.training import train_student, training_step
from tests.fake_cuda import FakeCuda
from tests.student.toy import HEIGHT, TOY, WIDTH, read_toy, toy_sample

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12
KILL_AT = 8


def toy_job(folder: Path, **changes: Any) -> DistillJob:
    training = DistillConfig(
        steps=STEPS, batch_size=1, learning_rate=1e-3, warmup_steps=2, checkpoint_every=5, log_every=4,
        precision="float32",
    )  # fmt: skip
    job = DistillJob(
        students=folder, ids=("0", "1", "2", "3", "4"), read_sample=read_toy, data_fingerprint="toy", label_set=TOY,
        student=StudentConfig(size="tiny"), losses=LossConfig(stride=4), distill=training, seed=1,
    )  # fmt: skip
    for key, value in changes.items():
        if key in ("losses", "distill") and isinstance(value, dict):
            value = dataclasses.replace(getattr(job, key), **value)
        job = dataclasses.replace(job, **{key: value})
    return job


def kill_at(step: int) -> Callable[[Event], None]:
    """A listener that ends the process without warning."""

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.item == f"step {step}":
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def stop_at(step: int) -> Callable[[Event], None]:
    """A listener that interrupts the training."""

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == step:
            raise KeyboardInterrupt

    return listen


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*/final/model.safetensors")
    return load_file(file)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    folder, events = tmp_path_factory.mktemp("undisturbed"), list[Event]()
    train_student(toy_job(folder), events.append)
    return folder, events


@pytest.mark.slow
def test_killed_run_goes_on_and_ends_with_the_same_weights_bit_for_bit(
    undisturbed: tuple[Path, list[Event]], tmp_path: Path
) -> None:
    code = (
        "import torch, sys; from pathlib import Path; from tests.stages import test_training as t; "
        "torch.set_num_threads(1); t.train_student(t.toy_job(Path(sys.argv[1])), t.kill_at(t.KILL_AT))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not list(tmp_path.glob("*/final"))

    events: list[Event] = []
    train_student(toy_job(tmp_path), events.append)
    assert StageStarted("distill", STEPS - 5, "steps") in events
    ours, expected = weights(tmp_path), weights(undisturbed[0])
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_a_step_on_a_gpu_is_that_on_a_cpu_and_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the gradients, which torch derives on no pretended device."""
    job = toy_job(tmp_path, distill={"batch_size": 2})
    data = TrainingSet(job.ids, job.read_sample, job.distill, job.losses.stride, job.seed)
    trainee = prepare(job, data.sample(0))
    expected = training_step(job, trainee, data.batch(0))
    with FakeCuda() as gpu:
        job = dataclasses.replace(job, device="cuda")
        trainee = prepare(job, data.sample(0))

        def backward(_: torch.Tensor) -> None:
            for parameter in trainee.parameters:
                parameter.grad = torch.ones_like(parameter)

        monkeypatch.setattr(torch.Tensor, "backward", backward)
        batch = data.batch(0).to(torch.device("cuda"))
        gpu.waits.clear()
        losses = training_step(job, trainee, batch)
        assert gpu.waits == []
        found = {name: float(loss.detach()) for name, loss in losses.items()}
    for name in (*LOSSES, "total"):
        assert found[name] == pytest.approx(float(expected[name].detach()), rel=1e-5), name


def test_finished_run_does_nothing_when_run_again(undisturbed: tuple[Path, list[Event]]) -> None:
    def read(panorama_id: str) -> PanoramaSample:
        raise AssertionError("nothing is to be read")

    events: list[Event] = []
    folder = train_student(toy_job(undisturbed[0], read_sample=read), events.append)
    assert folder == toy_job(undisturbed[0]).folder.final
    assert [type(event) for event in events] == [Note]


def test_every_loss_is_logged_on_its_own_and_progress_reported(undisturbed: tuple[Path, list[Event]]) -> None:
    events = undisturbed[1]
    scalars = [event for event in events if isinstance(event, Scalars)]
    assert [event.step for event in scalars] == [4, 8, 12]
    assert all(set(event.values) == {*LOSSES, "total", "gradient_norm", "learning_rate"} for event in scalars)
    assert [event.done for event in events if isinstance(event, StageAdvanced)] == list(range(1, STEPS + 1))
    assert isinstance(events[-1], StageFinished)
    assert events[0] == Note("distill", "on the CPU, 1 thread")


@pytest.mark.slow
def test_the_features_loss_is_a_mean_over_the_steps_that_have_it(tmp_path: Path) -> None:
    """A mirrored panorama's features are not its own; its step would count as a loss of 0."""
    events: list[Event] = []
    folder = train_student(toy_job(tmp_path, distill={"log_every": 1}), events.append)
    losses = [event.values.get("features") for event in events if isinstance(event, Scalars)]
    known = [loss for loss in losses if loss is not None]
    assert 0 < len(known) < STEPS
    assert min(known) > 0.1
    assert json.loads((folder / "training.json").read_text())["losses"]["features"] == known[-1]
    events.clear()
    train_student(toy_job(tmp_path / "one line", distill={"log_every": STEPS}), events.append)
    (line,) = [event.values for event in events if isinstance(event, Scalars)]
    assert line["features"] == pytest.approx(sum(known) / len(known))


def test_final_student_says_where_it_comes_from(undisturbed: tuple[Path, list[Event]]) -> None:
    report = toy_job(undisturbed[0]).folder.record()
    assert report["steps"] == STEPS
    assert set(LOSSES) <= set(report["losses"])
    assert report["settings"]["losses"]["stride"] == 4
    assert report["working_size"] == [HEIGHT, WIDTH]
    assert report["fingerprint"] == toy_job(undisturbed[0]).fingerprint


def saved_student(folder: Path) -> dict[str, torch.Tensor]:
    """The only student in a folder, under the names that its network has in memory."""
    (final,) = folder.glob("*/final")
    return load_student(final).state_dict()


def model_after_each_step(job: DistillJob) -> list[dict[str, torch.Tensor]]:
    """Train, and return the model that learned, from the checkpoint of every step."""
    models: list[dict[str, torch.Tensor]] = []

    def listen(event: Event) -> None:
        if isinstance(event, StageAdvanced):
            models.append(torch.load(job.folder.checkpoint, weights_only=True)["model"])

    train_student(job, listen)
    return models


@pytest.mark.slow
def test_the_averaged_student_is_the_moving_average_of_the_weights_and_leaves_the_training_alone(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"steps": 8, "checkpoint_every": 1}
    models = model_after_each_step(toy_job(tmp_path / "average", distill={**settings, "average": 0.5}))
    expected = {name: value.double() for name, value in models[0].items()}
    for model in models[1:]:
        expected = {name: 0.5 * value + 0.5 * model[name].double() for name, value in expected.items()}
    student = saved_student(tmp_path / "average")
    for name, value in student.items():
        if value.is_floating_point():  # the count of a batch norm's batches is none
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
    assert any(not torch.equal(student[name], models[-1][name]) for name in student)
    train_student(toy_job(tmp_path / "none", distill=settings), silent)
    assert all(torch.equal(value, models[-1][name]) for name, value in saved_student(tmp_path / "none").items())


def test_an_interrupted_average_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings = {"steps": 8, "average": 0.5}
    train_student(toy_job(tmp_path / "whole", distill=settings), silent)
    with pytest.raises(KeyboardInterrupt):
        train_student(toy_job(tmp_path / "stopped", distill=settings), stop_at(7))
    events: list[Event] = []
    train_student(toy_job(tmp_path / "stopped", distill=settings), events.append)
    assert StageStarted("distill", 3, "steps") in events
    ours, expected = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_features_by_channel_and_edges_apart_train_too(tmp_path: Path) -> None:
    losses = {"feature_form": "channels", "edge_share": 0.3}
    events: list[Event] = []
    train_student(toy_job(tmp_path, losses=losses, distill={"steps": 3, "log_every": 1}), events.append)
    logged = [event.values for event in events if isinstance(event, Scalars)]
    assert len(logged) == 3 and all(set(LOSSES) - {"features"} <= set(values) for values in logged)
    assert any(values.get("features", 0) > 0 for values in logged)


def test_what_a_start_with_other_classes_lacks_is_reported(tmp_path: Path) -> None:
    start, events = tmp_path / "start", list[Event]()
    save_student(
        start_student(
            StudentConfig(size="tiny"), LabelSet("other", ("void", TOY.names[0]), ((0, 0, 0),) * 2, ())
        ).model,
        start,
    )
    train_student(
        toy_job(tmp_path, student=StudentConfig(size="tiny", weights=str(start)), distill={"steps": 1}), events.append
    )
    notes = [event.text for event in events if isinstance(event, Note)]
    assert any(f"have 1 of the {len(TOY)} classes" in note and TOY.names[1] in note for note in notes)


@pytest.mark.slow
def test_the_student_learns_the_toy(tmp_path: Path) -> None:
    events: list[Event] = []
    training = {
        "steps": 30,
        "batch_size": 2,
        "log_every": 5,
        "learning_rate": 2e-3,
        "colour_jitter": 0.0,
        "mirror": False,
    }
    folder = train_student(toy_job(tmp_path, distill=training, ids=("0", "1")), events.append)
    first, *_, last = [event.values for event in events if isinstance(event, Scalars)]
    for name in ("assistant", "ensemble", "reliable", "features", "total"):
        assert last[name] < 0.7 * first[name], name
    assert last["boundary"] < first["boundary"]
    assert load_student(folder).config.id2label == dict(enumerate(TOY.names))


def test_mixed_precision_and_crops_train_too(tmp_path: Path) -> None:
    events: list[Event] = []
    train_student(toy_job(tmp_path, distill={"steps": 2, "precision": "bfloat16", "crop_width": 32}), events.append)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path).values() if value.is_floating_point())
    assert any(isinstance(event, Scalars) for event in events)


def test_a_loss_switched_off_is_neither_logged_nor_needs_its_targets(tmp_path: Path) -> None:
    events: list[Event] = []
    job = toy_job(tmp_path, losses={"features": 0.0, "boundary": 0.0}, distill={"steps": 2, "log_every": 1},
                  read_sample=lambda i: toy_sample(int(i), levels=()))  # fmt: skip
    train_student(job, events.append)
    logged = [set(event.values) for event in events if isinstance(event, Scalars)]
    assert logged == [{"assistant", "ensemble", "reliable", "total", "gradient_norm", "learning_rate"}] * 2


def test_a_loss_that_is_no_number_stops_training_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    broken = False

    def read(panorama_id: str) -> PanoramaSample:
        sample = read_toy(panorama_id)
        features = {level: array * (float("nan") if broken else 1) for level, array in sample.features.items()}
        return dataclasses.replace(sample, features=features)

    def break_data(event: Event) -> None:
        nonlocal broken
        broken = broken or isinstance(event, StageAdvanced)

    training = {"checkpoint_every": 1, "log_every": 100, "mirror": False, "sample_memory_gb": 0.0}
    with pytest.raises(GoodSAMError, match=r"features.* NaN .*learning_rate"):
        train_student(toy_job(tmp_path, read_sample=read, distill=training), break_data)
    state = toy_job(tmp_path, read_sample=read, distill=training).folder.load()
    assert state is not None
    assert 1 <= state["progress"]["steps"] < STEPS
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert not list(tmp_path.glob("*/final"))


def all_but(damaged: set[str]) -> Callable[[str], PanoramaSample]:
    """Reads toy samples but for those that are damaged at the time."""

    def read(panorama_id: str) -> PanoramaSample:
        if panorama_id in damaged:
            raise CacheError(f"{panorama_id} is damaged", "a whole sample", "Run stage one again")
        return read_toy(panorama_id)

    return read


def test_unreadable_panoramas_are_reported_and_training_goes_on(tmp_path: Path) -> None:
    events: list[Event] = []
    folder = train_student(toy_job(tmp_path, read_sample=all_but({"3"}), distill={"steps": 6}), events.append)
    assert [event.item for event in events if isinstance(event, ItemFailed)] == ["3"]
    assert list(json.loads((folder / "training.json").read_text())["panoramas_set_aside"]) == ["3"]


def test_a_panorama_that_can_be_read_again_makes_the_student_anew(tmp_path: Path) -> None:
    damaged = {"3"}
    read = all_but(damaged)

    def set_aside() -> list[str]:
        folder = train_student(toy_job(tmp_path, read_sample=read, distill={"steps": 5}), events.append)
        return list(json.loads((folder / "training.json").read_text())["panoramas_set_aside"])

    events: list[Event] = []
    assert set_aside() == ["3"]
    events.clear()
    assert set_aside() == ["3"]
    assert not any(isinstance(event, StageStarted) for event in events)
    damaged.clear()
    assert set_aside() == []
    assert StageStarted("distill", 5, "steps") in events


@pytest.mark.slow
def test_what_a_training_did_without_before_it_was_killed_is_reported_at_its_end(tmp_path: Path) -> None:
    damaged = {"3"}
    read = all_but(damaged)

    def stop(event: Event) -> None:
        if isinstance(event, StageAdvanced) and event.done == 10:
            raise KeyboardInterrupt

    job = toy_job(tmp_path, read_sample=read)
    with pytest.raises(KeyboardInterrupt):
        train_student(job, stop)
    damaged.clear()
    folder = train_student(job, silent)
    assert list(json.loads((folder / "training.json").read_text())["panoramas_set_aside"]) == ["3"]
    events: list[Event] = []
    train_student(job, events.append)  # and so it is learned anew
    assert StageStarted("distill", STEPS, "steps") in events
    assert json.loads((folder / "training.json").read_text())["panoramas_set_aside"] == {}


def test_students_of_other_settings_lie_side_by_side(tmp_path: Path) -> None:
    jobs = [toy_job(tmp_path, distill={"steps": 1}, seed=seed) for seed in (1, 2)]
    for job in jobs:
        train_student(job, silent)
    made = [(job.folder.final / "model.safetensors").read_bytes() for job in jobs]
    assert made[0] != made[1]
    for job in jobs:
        events: list[Event] = []
        train_student(job, events.append)
        assert not any(isinstance(event, StageStarted) for event in events)
    assert [(job.folder.final / "model.safetensors").read_bytes() for job in jobs] == made
    assert {path.name for path in tmp_path.iterdir()} == {job.fingerprint for job in jobs}


@pytest.mark.slow
def test_an_unfinished_student_is_resumed_after_another_one(tmp_path: Path) -> None:
    first, second = toy_job(tmp_path), toy_job(tmp_path, distill={"steps": 1})
    with pytest.raises(KeyboardInterrupt):
        train_student(first, stop_at(KILL_AT))
    train_student(second, silent)
    events: list[Event] = []
    train_student(first, events.append)
    assert StageStarted("distill", STEPS - 5, "steps") in events
    assert first.folder.is_finished


def test_nothing_to_learn_from_and_unknown_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no panoramas"):
        train_student(toy_job(tmp_path, ids=()), silent)
    with pytest.raises(WeightsError):
        train_student(
            toy_job(tmp_path, student=StudentConfig("tiny", weights=str(tmp_path / "missing" / "weights"))), silent
        )


def test_a_checkpoint_of_something_else_is_not_resumed_from(tmp_path: Path) -> None:
    job = toy_job(tmp_path, distill={"steps": 1})
    save_checkpoint(job.folder.checkpoint, {"weights": torch.ones(3)})
    events: list[Event] = []
    train_student(job, events.append)
    assert StageStarted("distill", 1, "steps") in events
