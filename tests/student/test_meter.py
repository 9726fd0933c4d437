"""Means of the losses: each over the steps that have it, and one that diverged stops the training with its name."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.errors import GoodSAMError
from pipeline.student.meter import LossMeter


def test_a_mean_is_over_the_steps_that_have_the_loss() -> None:
    meter = LossMeter("Lower the learning_rate")
    meter.add(0, {"total": torch.tensor(1.0), "features": torch.tensor(4.0)})
    meter.add(1, {"total": torch.tensor(2.0)})
    assert meter.read() == {"total": 1.5, "features": 4.0}


def test_reading_starts_again_and_checking_does_not() -> None:
    meter = LossMeter("Lower the learning_rate")
    meter.add(0, {"total": torch.tensor(1.0)})
    assert meter.check() == {"total": 1.0} == meter.check()
    meter.add(1, {"total": torch.tensor(3.0)})
    assert meter.read() == {"total": 2.0}
    assert meter.read() == {}
    meter.add(2, {"total": torch.tensor(7.0)})
    assert meter.read() == {"total": 7.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_named_with_its_steps(value: float) -> None:
    meter = LossMeter("Lower the learning_rate")
    meter.add(0, {"total": torch.tensor(1.0)})
    meter.read()
    for step in (10, 11, 12):
        meter.add(step, {"total": torch.tensor(1.0), "boundary": torch.tensor(value if step == 11 else 1.0)})
    with pytest.raises(GoodSAMError, match=r"^boundary became NaN or infinite in steps 11 to 13;.*learning_rate"):
        meter.check()
    with pytest.raises(GoodSAMError):
        meter.read()


def test_the_graph_of_a_loss_is_not_held() -> None:
    weight = torch.ones((), requires_grad=True)
    meter = LossMeter("Lower the learning_rate")
    meter.add(0, {"total": 2 * weight})
    assert meter.read() == {"total": 2.0}
    assert weight.grad is None


def test_a_meter_goes_on_with_what_another_has_counted() -> None:
    whole, before = LossMeter("Lower the learning_rate"), LossMeter("Lower the learning_rate")
    for step in (0, 1):
        for meter in (whole, before):
            meter.add(step, {"total": torch.tensor(0.1 + step)} | ({"features": torch.tensor(3.0)} if step else {}))
    after = LossMeter("Lower the learning_rate", before.counted)
    for meter in (whole, after):
        meter.add(2, {"total": torch.tensor(0.7)})
    assert after.read() == whole.read()
    after.add(3, {"total": torch.tensor(1.0)})
    assert after.read() == {"total": 1.0}


def test_the_steps_before_a_meter_went_on_had_numbers() -> None:
    meter = LossMeter("Lower the learning_rate", {"total": (1.0, 2)})
    meter.add(8, {"total": torch.tensor(math.nan)})
    with pytest.raises(GoodSAMError, match="in steps 9 to 9"):
        meter.check()
