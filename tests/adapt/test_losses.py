from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.adapt.config import AdaptConfig
from pipeline.adapt.losses import AdaptTargets, adapt_losses, consistency_loss, merged_logits, total
from pipeline.class_tables import merge_probabilities
from pipeline.classes import CITYSCAPES_19, DENSEPASS_13
from pipeline.errors import RecipeError


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_classes_merge_after_the_softmax_as_in_stage_one():
    logits_SN = logits(19, 50)
    merged = merged_logits(logits_SN, CITYSCAPES_19, DENSEPASS_13).softmax(dim=0)
    expected = merge_probabilities(logits_SN.softmax(dim=0).numpy(), CITYSCAPES_19, DENSEPASS_13)
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-5)


def test_a_class_that_merges_into_none_gets_no_gradient_and_merged_ones_share_theirs():
    logits_SN = logits(19, 8).requires_grad_()
    merged_logits(logits_SN, CITYSCAPES_19, DENSEPASS_13).log_softmax(dim=0)[11].sum().backward()  # person, with rider
    assert logits_SN.grad is not None
    person, rider, train = (logits_SN.grad[CITYSCAPES_19.names.index(name)] for name in ("person", "rider", "train"))
    assert (person > 0).all() and (rider > 0).all() and (train == 0).all()


def test_equal_label_sets_stay_as_they_are():
    logits_SN = logits(13, 4)
    assert merged_logits(logits_SN, DENSEPASS_13, DENSEPASS_13) is logits_SN


def test_classes_without_a_merge_are_refused():
    with pytest.raises(RecipeError, match="cannot be merged"):
        merged_logits(logits(13, 4), DENSEPASS_13, CITYSCAPES_19)


def test_consistency_is_the_symmetric_divergence_over_the_valid_overlap():
    first, second = torch.tensor([[0.9, 0.5], [0.1, 0.5]]).log(), torch.tensor([[0.6, 0.1], [0.4, 0.9]]).log()
    expected = 0.3 * math.log(0.9 / 0.6) + -0.3 * math.log(0.1 / 0.4)
    assert consistency_loss(first, second, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected, rel=1e-5)
    assert consistency_loss(first, first, torch.ones(2)).item() == pytest.approx(0, abs=1e-6)


def test_consistency_pulls_each_towards_the_other_as_it_is():
    first, second = logits(3, 1).requires_grad_(), logits(3, 1, seed=1).requires_grad_()
    consistency_loss(first, second, torch.ones(1)).backward()
    # Of cross-entropy with a target that stands still: prediction minus target.
    assert first.grad is not None and second.grad is not None
    torch.testing.assert_close(first.grad, first.softmax(dim=0) - second.softmax(dim=0))
    torch.testing.assert_close(second.grad, second.softmax(dim=0) - first.softmax(dim=0))


def test_reliable_pixels_count_twice_and_ignored_ones_not_at_all():
    logits_CN, config = logits(3, 4).requires_grad_(), AdaptConfig()
    targets = AdaptTargets(
        logits(3, 4, seed=2).softmax(dim=0), torch.tensor([1.0, 0, 1, 0]), torch.tensor([1.0, 1, 0, 0])
    )
    losses = adapt_losses(logits_CN, targets, None, config)
    assert losses.keys() == {"ensemble", "reliable"}
    total(losses, config).backward()
    assert logits_CN.grad is not None
    expected = (logits_CN.softmax(dim=0) - targets.ensemble_CN) / 2 * torch.tensor([2.0, 1, 0, 0])
    torch.testing.assert_close(logits_CN.grad, expected)


@pytest.mark.parametrize("hard", [False, True])
def test_what_ignored_pixels_have_for_a_target_does_not_change_which_classes_are_rare(hard: bool):
    logits_CN, config = logits(3, 40), AdaptConfig(hard=hard, class_balance=0.5)
    ensemble_CN, reliable_N = logits(3, 40, seed=3).softmax(dim=0), (torch.arange(40) % 2).float()
    valid_N = (torch.arange(40) < 10).float()
    found = adapt_losses(logits_CN, AdaptTargets(ensemble_CN, reliable_N, valid_N), None, config)
    seen = AdaptTargets(ensemble_CN[:, :10], reliable_N[:10], valid_N[:10])
    expected = adapt_losses(logits_CN[:, :10], seen, None, config)
    assert found.keys() == expected.keys() == {"ensemble", "reliable"}
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name])


def test_ignored_pixels_of_an_overlap_do_not_count():
    logits_CN = logits(3, 4).requires_grad_()
    targets = AdaptTargets(torch.full((3, 4), 1 / 3), torch.zeros(4), torch.tensor([1.0, 0, 1, 0]))
    overlaps = (torch.tensor([0, 1]), torch.tensor([2, 3]))
    adapt_losses(logits_CN, targets, overlaps, AdaptConfig())["consistency"].backward()
    assert logits_CN.grad is not None
    assert logits_CN.grad[:, [0, 2]].abs().min() > 0 and logits_CN.grad[:, [1, 3]].abs().max() == 0


def test_a_loss_without_weight_is_not_computed():
    targets = AdaptTargets(torch.full((3, 2), 1 / 3), torch.ones(2), torch.ones(2))
    overlaps = (torch.tensor([0]), torch.tensor([1]))
    config = AdaptConfig(consistency=0, reliable=0)
    assert adapt_losses(logits(3, 2), targets, overlaps, config).keys() == {"ensemble"}


def test_hard_targets_are_their_most_probable_class():
    targets = AdaptTargets(torch.tensor([[0.6], [0.4]]), torch.ones(1), torch.ones(1))
    logits_CN = logits(2, 1)
    loss = adapt_losses(logits_CN, targets, None, AdaptConfig(hard=True))["ensemble"]
    torch.testing.assert_close(loss, -logits_CN.log_softmax(dim=0)[0, 0])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"steps": 0}, "adapt.steps"),
        ({"learning_rate": 0.0}, "adapt.learning_rate"),
        ({"consistency": -1.0}, "adapt.consistency"),
        ({"ensemble": 0.0, "reliable": 0.0}, "adapt.ensemble and adapt.reliable is .* at least one above 0"),
        ({"precision": "half"}, "adapt.precision"),
        ({"held_out": -1}, "adapt.held_out"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, float], named: str):
    with pytest.raises(RecipeError, match=named):
        AdaptConfig(**changed)  # type: ignore[arg-type]
