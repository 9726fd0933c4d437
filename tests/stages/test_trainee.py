"""What learns, at the very beginning and from a checkpoint: student, projections, optimiser and average."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from pipeline.errors import RecipeError, WeightsError
from pipeline.student.config import StudentConfig
from pipeline.student.model import save_student, start_student
from pipeline.student.pooling import PooledSample, pool
from stages.events import silent
from stages.trainee import prepare
from stages.training import train_student
from stages.training_loop import load_parts, state_of
from tests.fake_cuda import FakeCuda
from tests.stages.test_training import toy_job
from tests.student.toy import CHANNELS, TOY, toy_sample


def example(levels: tuple[int, ...] = (1, 4)) -> PooledSample:
    return pool(toy_sample(0, levels), 4)


def test_the_same_seed_begins_with_the_same_weights_and_another_with_others(tmp_path: Path) -> None:
    first, again, other = (prepare(toy_job(tmp_path, seed=seed), example()).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_features_that_were_not_cached_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"losses\.features = 0"):
        prepare(toy_job(tmp_path), example(levels=()))
    without = prepare(toy_job(tmp_path, losses={"features": 0.0}), example(levels=()))
    assert list(without.projections.parameters()) == []


def test_feature_channels_of_the_assistant_need_not_be_the_students(tmp_path: Path) -> None:
    state = state_of(prepare(toy_job(tmp_path), example()).parts)
    shapes = {name: tuple(value.shape[:2]) for name, value in state["projections"].items() if name.endswith("weight")}
    assert shapes == {"layers.1.weight": (CHANNELS, 16), "layers.4.weight": (CHANNELS, 128)}


def test_a_start_with_a_weight_that_is_no_number_is_refused_by_name(tmp_path: Path) -> None:
    start = start_student(StudentConfig(size="tiny"), TOY).model
    with torch.no_grad():
        next(start.parameters())[0] = float("nan")
    save_student(start, tmp_path / "start")
    job = toy_job(tmp_path, student=StudentConfig("tiny", str(tmp_path / "start")))
    with pytest.raises(WeightsError, match=r"start .*start outputs NaN or infinity"):
        prepare(job, example())


def test_everything_that_learns_is_optimised_and_comes_back_from_the_checkpoint(tmp_path: Path) -> None:
    job = toy_job(tmp_path, distill={"average": 0.5})
    trained, other = prepare(job, example()), prepare(dataclasses.replace(job, seed=2), example())
    optimised = {id(p) for group in trained.optimizer.param_groups for p in group["params"]}
    assert optimised == set(map(id, trained.parameters)) and len(optimised) == len(trained.parameters)
    for parameter in trained.parameters:
        parameter.grad = torch.ones_like(parameter)
    trained.optimizer.step()
    load_parts(other.parts, state_of(trained.parts))
    for own, loaded in zip(trained.parameters, other.parameters, strict=True):
        assert torch.equal(own, loaded)
    assert other.average is not None and trained.average is not None
    for own, loaded in zip(trained.average.parameters(), other.average.parameters(), strict=True):
        assert torch.equal(own, loaded)
    assert len(other.optimizer.state) == len(trained.parameters)


def test_the_student_is_the_average_where_there_is_one(tmp_path: Path) -> None:
    plain = prepare(toy_job(tmp_path), example())
    assert plain.average is None and plain.student is plain.model and "average" not in plain.parts
    averaged = prepare(toy_job(tmp_path, distill={"average": 0.5}), example())
    assert averaged.average is not None and averaged.student is averaged.average.module
    assert averaged.student is not averaged.model


def test_a_training_that_a_cpu_began_goes_on_on_a_gpu(tmp_path: Path) -> None:
    job = toy_job(tmp_path, distill={"steps": 1})
    train_student(job, silent)
    state = job.folder.load()
    assert state is not None
    with FakeCuda():
        trainee = prepare(dataclasses.replace(job, device="cuda"), example())
        load_parts(trainee.parts, state)
        kept = [value for values in trainee.optimizer.state.values() for value in values.values()]
        assert {value.device.type for value in kept} == {"cuda"}  # the steps too: fused AdamW counts them there
        assert all(group["fused"] for group in trainee.optimizer.param_groups)
